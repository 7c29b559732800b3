"""Checks of inputs: scale, contents, layout, copies. Each finds batches made ill in several ways; sound ones pass."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.doctor.scenes import IMAGENET, batches, classifier, foreground, found_by, scenes, segmenter
from torch import Tensor, nn

from provenet.doctor.checks import augmentation, classes, contents, copies, data, masks, relation, weights
from provenet.doctor.samples import pool
from provenet.doctor.scaling import read_scaling

CHECKS = {check.id: check for check in (*data.CHECKS, *contents.CHECKS, *copies.CHECKS)}
ALL = (
    *(*data.CHECKS, *contents.CHECKS, *copies.CHECKS, *masks.CHECKS, *classes.CHECKS, *weights.CHECKS),
    *(*augmentation.CHECKS, *relation.CHECKS),
)
CE = nn.CrossEntropyLoss()
SEEN = scenes()
MEAN, STD = IMAGENET


def look(id: str, inputs: Tensor, labels: Tensor = SEEN.labels, net: nn.Module | None = None, **more):
    return found_by(CHECKS[id], net or classifier(channels=inputs.shape[1]), batches(inputs, labels), CE, **more)


def test_silent_on_sound_nets(look, sound):
    found = look(ALL, sound, ("static", "probe"))
    assert [(finding.id, finding.evidence) for finding in found.findings if finding.loud] == []


PICTURES = {
    "standardised": SEEN.images,
    "pixels in [0, 1]": SEEN.pixels,
    "pixels in [-1, 1]": SEEN.pixels * 2 - 1,
    "ImageNet": (SEEN.pixels - MEAN) / STD,
    "dark, ImageNet": (SEEN.pixels * 0.2 - MEAN) / STD,
    "stained white, ImageNet": (1 - SEEN.pixels * 0.2 - MEAN) / STD,
    "each by itself": F.instance_norm(SEEN.pixels),
    "grey as RGB": SEEN.images.mean(1, keepdim=True).repeat(1, 3, 1, 1),
    "MNIST": (SEEN.pixels.mean(1, keepdim=True) - 0.1307) / 0.3081,
    "noise": torch.randn(48, 3, 32, 32, generator=torch.Generator().manual_seed(0)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_silent_on_usual_pictures(name):
    inputs = PICTURES[name]
    for check in CHECKS.values():
        net = classifier(norm=True, channels=inputs.shape[1])
        found = found_by(
            check, net, batches(inputs, SEEN.labels), CE, val_batches=batches(scenes(16, 7).images, SEEN.labels[:16])
        )
        assert found is None, (name, found)


class Inside(nn.Module):
    """A net that maps its inputs itself."""

    def __init__(self, change) -> None:
        super().__init__()
        self.change, self.net = change, classifier()

    def forward(self, images: Tensor) -> Tensor:
        return self.net(self.change(images))


@pytest.mark.parametrize(
    "inputs",
    [SEEN.pixels * 255, SEEN.images * 40, SEEN.pixels[:, :1] * 65535, SEEN.pixels.mul(255).round().to(torch.uint8)],
)
def test_large_inputs(inputs):
    found = look("input-unnormalized", inputs)
    assert found is not None and found.loud and found.layer == "inputs"


def test_large_inputs_matter_less_before_batch_norm():
    assert not look("input-unnormalized", SEEN.pixels * 255, net=classifier(norm=True)).loud
    frozen = classifier(norm=True).eval()
    assert look("input-unnormalized", SEEN.pixels * 255, net=frozen).loud


def test_what_reaches_the_first_weights_counts():
    raw = SEEN.pixels * 255
    assert look("input-unnormalized", raw, net=Inside(lambda x: (x / 255 - MEAN) / STD)) is None
    assert look("input-unnormalized", raw, net=nn.Sequential(nn.BatchNorm2d(3), classifier())) is None
    assert look("input-unnormalized", SEEN.pixels, net=Inside(lambda x: x * 255)).loud


def test_an_offset_is_loud_only_where_the_probe_gains():
    shifted = SEEN.images + 6
    assert look("input-unnormalized", shifted) is None
    found = look("input-unnormalized", shifted + 6, costs=("static", "probe"), lr=1e-2)
    assert found is None or found.gain >= 0.2


@pytest.mark.parametrize("inputs", [SEEN.pixels / 255, (SEEN.pixels - 0.4) / 100, SEEN.pixels[:, :1] / 255])
def test_tiny_inputs(inputs):
    found = look("input-tiny-scale", inputs)
    assert found is not None and found.severity == "warning"


def test_tiny_inputs_say_why():
    assert "255 twice" in look("input-tiny-scale", SEEN.pixels / 255).message
    inside = look("input-tiny-scale", SEEN.pixels, net=Inside(lambda x: x / 255))
    assert inside.layer == "net.0" and "net.0" in inside.message


WRONG = {
    "0..255 statistics on [0, 1]": (SEEN.pixels - MEAN * 255) / (STD * 255),
    "[0, 1] statistics on 0..255": (SEEN.pixels * 255 - MEAN) / STD,
    "a half on 0..255": (SEEN.pixels * 255 - 0.5) / 0.5,
    "twice": ((SEEN.pixels - MEAN) / STD - MEAN) / STD,
    "mean of 0..255, std of [0, 1]": (SEEN.pixels - MEAN * 255) / STD,
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_statistics(name):
    found = look("wrong-normalization-stats", WRONG[name])
    assert found is not None and found.severity == "warning"
    assert look("input-unnormalized", WRONG[name]) is None and look("input-tiny-scale", WRONG[name]) is None


def test_stories_are_told_apart():
    assert read_scaling((SEEN.pixels - MEAN) / STD).story == "right"
    assert read_scaling((SEEN.pixels - MEAN) / STD).name == "ImageNet"
    assert read_scaling(SEEN.pixels * 2 - 1).name == "a half"
    assert read_scaling(WRONG["twice"]).story == "normalized twice"
    assert read_scaling(torch.randn(8, 3, 16, 16)) is None


def _with(place, value: float) -> Tensor:
    inputs = SEEN.images.clone()
    inputs[place] = value
    return inputs


@pytest.mark.parametrize("inputs", [_with((40, 1, 3, 3), torch.nan), _with((0, 0), torch.inf)])
def test_nonfinite_inputs(inputs):
    found = look("input-nonfinite", inputs)
    assert found.severity == "error" and found.evidence["batch"] == (2 if inputs[40].isnan().any() else 0)


def test_nonfinite_targets():
    amounts = SEEN.pixels.mean((1, 2, 3))[:, None].clone()
    amounts[3] = torch.nan
    net = classifier(1)

    def skipping(out: Tensor, target: Tensor) -> Tensor:
        known = torch.isfinite(target)
        return F.mse_loss(out[known], target[known])

    given = batches(SEEN.images, amounts)
    assert found_by(CHECKS["input-nonfinite"], net, given, F.mse_loss).layer == "targets"
    assert found_by(CHECKS["input-nonfinite"], net, given, skipping) is None


BLANK = {
    "whole division": ((SEEN.pixels * 255) // 255, "error"),
    "all zero": (torch.zeros(48, 3, 32, 32), "error"),
    "a third": (torch.where(torch.arange(48)[:, None, None, None] % 3 == 0, 0.5, SEEN.images), "warning"),
    "a channel": (_with((slice(None), 1), 0.0), "warning"),
    "alpha": (torch.cat([SEEN.images, torch.ones(48, 1, 32, 32)], 1), "info"),
}


@pytest.mark.parametrize("name", BLANK)
def test_blank_inputs(name):
    inputs, severity = BLANK[name]
    assert look("input-constant", inputs).severity == severity


def test_some_empty_tiles_are_usual_where_there_are_masks():
    inputs, _ = BLANK["a third"]
    given = batches(inputs, foreground(SEEN.masks))
    assert found_by(CHECKS["input-constant"], segmenter(1), given, nn.BCEWithLogitsLoss()) is None


def _viewed(images: Tensor) -> Tensor:
    return images.permute(0, 2, 3, 1).reshape(images.shape)


def _permuted(images: Tensor) -> Tensor:
    num, channels, height, width = images.shape
    return images.reshape(num, height, width, channels).permute(0, 3, 1, 2)


@pytest.mark.parametrize("scramble", [_viewed, _permuted])
@pytest.mark.parametrize("name", ["standardised", "pixels in [0, 1]", "grey as RGB"])
def test_scrambled_pixels(scramble, name):
    found = look("input-layout", scramble(PICTURES[name]))
    assert found.severity == "warning" and ("viewed as (C, H, W)" in found.message) == (scramble is _viewed)


def test_channels_last():
    found = look("input-layout", SEEN.images.permute(0, 2, 3, 1), net=classifier())
    assert found.severity == "error" and "(48, 32, 32, 3)" in found.message


def test_copies():
    torn = look("duplicate-samples", SEEN.images[torch.arange(48) % 6])
    assert torn.severity == "error" and torn.layer == "targets"
    few = torch.arange(48) % 6
    assert look("duplicate-samples", SEEN.images[few], SEEN.labels[few]).evidence["different"] == 6
    first = torch.where(torch.arange(48) % 6 == 0, 0, torch.arange(48))
    kept = look("duplicate-samples", SEEN.images[first], SEEN.labels[first])
    assert kept.severity == "warning" and kept.evidence["most_copies"] == 8


def test_drawing_with_replacement_is_no_fault():
    drawn = torch.randint(0, 48, (48,), generator=torch.Generator().manual_seed(0))
    assert not look("duplicate-samples", SEEN.images[drawn], SEEN.labels[drawn]).loud
    given = batches(SEEN.images, SEEN.labels)
    assert found_by(CHECKS["duplicate-samples"], classifier(), [given[0], given[0]], CE) is None
    torn = [given[0], (given[0][0].clone(), (given[0][1] + 1) % 3)]
    assert found_by(CHECKS["duplicate-samples"], classifier(), torn, CE).severity == "error"
    assert len(pool((given[0], given[0], given[1]), None)) == 32


@pytest.mark.parametrize("change", [lambda x: x, lambda x: x.flip(-1) * 0.97, lambda x: x + 0.01])
def test_leakage(change):
    new = scenes(24, 5).images.clone()
    clean = look("train-val-leakage", SEEN.images, val_batches=[(new.clone(), SEEN.labels[:24])])
    new[4:8] = change(SEEN.images[10:14])
    found = look("train-val-leakage", SEEN.images, val_batches=[(new, SEEN.labels[:24])])
    assert clean is None and found.severity == "warning"
    assert found.evidence["equal"] + found.evidence["nearly_equal"] == 4 and found.evidence["first"] == 4
