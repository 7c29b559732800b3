"""Choices that cannot stand together."""

import pytest

from provenet.recipe.conflicts import conflicts
from provenet.recipe.load import load
from provenet.recipe.schema import Recipe
from provenet.recipe.words import parse_words

SEGMENT = ("task=segmentation", "net=unet")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("epochs=1", "steps=2"), "exactly one budget"),
        (("epochs=none",), "exactly one budget"),
        (("net=unet",), "net unet is for segmentation, the task is classification"),
        (("task=segmentation",), "net resnet is for classification, the task is segmentation"),
        (("net=plain", "block=residual"), "net plain is made of plain blocks"),
        (("net=plain", "net.depth=50"), "depth 50 is made of bottlenecks"),
        (("net.depth=50", "block=preact"), "depth 50 is made of bottlenecks"),
        (("net=plain", "dropout=stochastic_depth"), "stochastic depth drops residual branches"),
        (("net=convnet", "dropout=stochastic_depth"), "stochastic depth drops residual branches"),
        (("view.resize=window",), "windows show a part"),
        (("loss=dice",), "this loss compares areas"),
        (("loss=ce_dice",), "this loss compares areas"),
        ((*SEGMENT, "augment=flip,mixup"), "mixup mixes the classes of whole images"),
        ((*SEGMENT, "augment=cutmix"), "cutmix mixes the classes of whole images"),
        ((*SEGMENT, "imbalance=sampler"), "the sampler draws images by their class"),
        (("pretrained=true",), "nobody has published weights for net resnet"),
        ((*SEGMENT, "pretrained=true"), "nobody has published weights for net unet"),
        (("transfer=fine_tune",), "there is nothing to transfer"),
        (("schedule=plateau", "schedule.patience=5", "patience=5"), "would stop before the learning rate drops"),
        (("skip=add",), "net resnet has no place for slot skip"),
        (("net=timm:resnet18", "norm=group"), "net timm has no place for slot norm"),
        (("net=convnet", "block=preact"), "net convnet has no place for slot block"),
    ],
)
def test_each_conflict_is_one_fault_at_one_of_its_words(faults, words, what):
    (fault,) = faults(*words)
    assert what in fault.what
    assert fault.where == "override"
    assert fault.got
    assert fault.remedy


@pytest.mark.parametrize(
    "words",
    [
        ("net=plain",),
        ("net.depth=50",),
        ("net.depth=50", "block=bottleneck"),
        ("net=unet", "task=segmentation", "view.resize=window", "skip=none", "upsample=nearest", "imbalance=weights"),
        (
            "net=unet",
            "task=segmentation",
            "net.encoder=timm:resnet18",
            "pretrained=true",
            "transfer=feature_extraction",
        ),
        ("net=timm:resnet18", "pretrained=true", "transfer=fine_tune"),
        ("pretrained=runs/a", "transfer=fine_tune"),
        ("dropout=stochastic_depth",),
        ("augment=mixup,cutmix",),
        ("schedule=plateau", "schedule.patience=5", "patience=6"),
        ("norm=batch", "skip=concat", "net=timm:resnet18"),
    ],
)
def test_what_goes_together_is_left_alone(faults, words):
    assert faults(*words) == ()


def test_all_conflicts_come_at_once(faults):
    assert len(faults("epochs=1", "steps=2", "net=plain", "block=residual", "loss=dice", "transfer=fine_tune")) == 4


def test_conflicts_can_be_asked_of_any_recipe():
    assert conflicts(Recipe()) == []
    assert len(conflicts(Recipe(task="segmentation"))) == 1
    assert conflicts(load(parse_words(["seed=1"]))) == []
