"""Tried in an afternoon: one slip in the optimizer, the loss or the mode of an ordinary training."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import timm
import torch
from benchmarks.doctor.cases import Given, batched, fault
from benchmarks.doctor.last.try_nets import CifarNet, DeepLab, LeNet, TransposedUNet, few, masks, signs, vgg
from benchmarks.doctor.nets import adam, mlp, sgd
from benchmarks.doctor.pictures import Pictures, cells, digits, shapes
from benchmarks.doctor.scores import balanced_accuracy, fit, iou_above
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import StepLR
from torchvision.models import SwinTransformer


def binary(pictures: Pictures) -> Pictures:
    """Return masks of 0 and 1 as floats N 1 H W to learn from, and as integers to try it on."""
    truth = (pictures.test[0], (pictures.test[1] > 0).long()[:, None])
    return Pictures(pictures.inputs, (pictures.targets > 0).float()[:, None], truth)


def overlap(probs: Tensor, masks: Tensor) -> Tensor:
    """Return the Dice coefficient."""
    return (2 * (probs * masks).sum() + 1) / (probs.sum() + masks.sum() + 1)


@fault("common pattern: the optimizer is changed to AdamW and the rate of SGD is kept", "lr-too-high")
def transformer_at_the_rate_of_sgd(seed: int, bad: bool) -> Given:
    """A ViT is trained by AdamW at 0.1, the rate of the SGD line that it replaced."""
    found = signs(seed, num=96).normalized()
    options = {"img_size": 32, "patch_size": 8, "depth": 3, "embed_dim": 96, "num_heads": 4, "num_classes": 6}
    model = timm.create_model("vit_tiny_patch16_224", **options)
    return few(model, found, AdamW(model.parameters(), lr=0.1 if bad else 5e-4))


@fault("common pattern: the rate for fine-tuning, 1e-6, kept for a net from scratch", "lr-too-low")
def rate_of_fine_tuning_from_scratch(seed: int, bad: bool) -> Given:
    """Adam at 1e-6 on a net that nobody has trained before."""
    found = digits(seed, 64, 28).normalized()
    model = LeNet()
    return few(model, found, adam(model, 1e-6 if bad else 2e-3))


@fault("https://github.com/ivadomed/ivadomed/pull/55", ["lr-too-low", "lr-never-decayed"], allowed=["lr-too-low"])
def step_decay_at_every_batch(seed: int, bad: bool) -> Given:
    """StepLR(step_size=3, gamma=0.1) is meant in epochs and stepped after every batch."""
    found = signs(seed).normalized()
    model = CifarNet()
    optimizer = sgd(model, 0.02)
    return few(model, found, optimizer, schedule=StepLR(optimizer, 3 if bad else 45, 0.1))


@fault("common pattern: momentum=0.999, after Adam's second beta", "momentum-too-high", allowed=["lr-too-high"])
def momentum_of_three_nines(seed: int, bad: bool) -> Given:
    """SGD with momentum 0.999 at an ordinary rate."""
    found = signs(seed).normalized()
    model = CifarNet()
    return few(model, found, SGD(model.parameters(), lr=0.02, momentum=0.999 if bad else 0.9), 64)


@fault("common pattern: weight_decay=0.5 for 5e-4", "weight-decay-too-high")
def decay_of_a_half(seed: int, bad: bool) -> Given:
    """SGD with a weight decay of 0.5."""
    found = signs(seed).normalized()
    model = CifarNet()
    return few(model, found, sgd(model, 0.02, weight_decay=0.5 if bad else 5e-4))


@fault("https://github.com/fengdu78/Data-Science-Notes/issues/18", "optimizer-missing-params")
def swin_head_only(seed: int, bad: bool) -> Given:
    """The optimizer line of a fine-tuning tutorial, model.head.parameters(), in a training from scratch."""
    found = signs(seed).normalized()
    model = SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], stochastic_depth_prob=0.0, num_classes=6)
    return few(model, found, AdamW((model.head if bad else model).parameters(), lr=1e-3))


@fault("https://github.com/spro/practical-pytorch/issues/9", ["optimizer-stale-params", "optimizer-missing-params"],
       allowed=["optimizer-missing-params"])  # fmt: skip
def model_built_again(seed: int, bad: bool) -> Given:
    """The model is created once more after the optimizer was made of the first one."""
    found = digits(seed, 128, 28).normalized()
    first = mlp(784, 10)
    optimizer = adam(first)
    model = mlp(784, 10) if bad else first
    return few(model, found, optimizer)


@fault("common pattern: reduction='sum' over all pixels at the rate of the mean", "loss-reduction-sum",
       allowed=["lr-too-high"])  # fmt: skip
def summed_over_pixels(seed: int, bad: bool) -> Given:
    """BCEWithLogitsLoss(reduction="sum") over 16 x 48 x 48 pixels, with SGD at 0.1."""
    found = binary(cells(seed, 32).normalized())
    model = TransposedUNet(3, 1)
    loss = nn.BCEWithLogitsLoss(reduction="sum" if bad else "mean")
    return masks(model, found, sgd(model, 0.1), loss_fn=loss, score=iou_above(0.0))


@fault("https://github.com/akirasosa/mobile-semantic-segmentation/issues/24", "loss-sign")
def dice_coefficient_minimized(seed: int, bad: bool) -> Given:
    """The Dice coefficient itself is returned as the loss."""
    found = binary(shapes(seed, 32).normalized())
    model = DeepLab(1, 1)

    def loss(found: Tensor, targets: Tensor) -> Tensor:
        dice = overlap(found.sigmoid(), targets)
        return dice if bad else 1 - dice

    return masks(model, found, adam(model, 3e-3), loss_fn=loss, score=iou_above(0.0))


@fault("https://github.com/jakeret/tf_unet/issues/15", "dice-on-logits")
def overlap_of_raw_scores(seed: int, bad: bool) -> Given:
    """Dice is computed of the scores, without a sigmoid."""
    found = binary(shapes(seed, 32).normalized())
    model = TransposedUNet(1, 1)

    def loss(found: Tensor, targets: Tensor) -> Tensor:
        return 1 - overlap(found if bad else found.sigmoid(), targets)

    score = iou_above(0.5 if bad else 0.0)
    return masks(model, found, adam(model, 3e-3), loss_fn=loss, score=score)


@fault("https://github.com/PRBonn/lidar-bonnetal/issues/48", "class-weights-inverted", allowed=["class-imbalance"])
def weights_by_frequency(seed: int, bad: bool) -> Given:
    """Class weights are the classes' shares of the data instead of their inverse."""
    found = signs(seed, num=1000).normalized()
    labels = (found.targets == 2).long()
    rows = torch.cat([torch.where(found.targets == 1)[0][:108], torch.where(labels == 1)[0][:20]])
    rows = rows[torch.randperm(len(rows))]
    kept = (found.test[1] == 1) | (found.test[1] == 2)
    test = (found.test[0][kept], (found.test[1][kept] == 2).long())
    share = torch.tensor([108 / 128, 20 / 128])
    weight = share if bad else 1 / share
    model = CifarNet(2)
    data = Pictures(found.inputs[rows], labels[rows], test)
    return few(
        model, data, adam(model), loss_fn=nn.CrossEntropyLoss(2 * weight / weight.sum()), score=balanced_accuracy
    )


@fault("https://github.com/wkentaro/pytorch-fcn/pull/56", "eval-mode-training")
def left_in_eval_after_validation(seed: int, bad: bool) -> Given:
    """A validation before the first epoch calls model.eval(), and nothing calls model.train()."""
    found = signs(seed).normalized()
    model = timm.create_model("resnet10t", num_classes=6, stem_width=16, channels=(16, 24, 32, 48))
    return few(model.train(not bad), found, sgd(model, 0.05))


class DropoutInForward(LeNet):
    """LeNet with dropout before the last layer, by the function."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.always = always

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout(self.hidden(x), 0.5, True if self.always else self.training)
        return self.fc3(x)


@fault("https://github.com/yangze0930/NTS-Net/issues/14", "dropout-always-on")
def functional_dropout_in_use(seed: int, bad: bool) -> Given:
    """F.dropout is called without `training=self.training`, so it drops in use too."""
    found = digits(seed, 128, 28).normalized()
    model = DropoutInForward(always=bad)
    return few(model, found, adam(model, 2e-3))


@fault("https://github.com/pytorch/vision/issues/2164", "frozen-layers")
def backbone_frozen_without_weights(seed: int, bad: bool) -> Given:
    """The encoder is frozen as if it were pretrained, but it was built with weights=None."""
    found = shapes(seed, 48).normalized()
    model = DeepLab(1, 5)
    for weight in model.backbone.parameters():
        weight.requires_grad_(not bad)
    return masks(model, found, adam(model, 3e-3))


@fault("https://github.com/xuebinqin/BASNet/issues/42", "bn-small-batch")
def pairs_of_pictures(seed: int, bad: bool) -> Given:
    """Memory allows two pictures at a time, and every layer has batch norm."""
    found = signs(seed, num=24).normalized()
    model = vgg(6, (16, "M", 32, "M", 32, "M", 64, "M", 64, "M"))
    if not bad:
        for number, layer in enumerate(model):
            if isinstance(layer, nn.BatchNorm2d):
                model[number] = nn.GroupNorm(4, layer.num_features)
    return few(model, found, adam(model), 2)


@fault("common pattern: model(x) is N x 1 and y is N in MSELoss", "target-shape-broadcast")
def radius_against_a_row(seed: int, bad: bool) -> Given:
    """One number is learnt per picture; the net gives N x 1, the targets are N, and MSELoss broadcasts them."""
    found = shapes(seed, 128, 24).normalized()
    share, test = ((one > 0).float().mean((1, 2)) * 5 - 1 for one in (found.targets, found.test[1]))
    layers = [nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 1))
    batches = batched(found.inputs, share if bad else share[:, None])
    more = {"batches": batches, "test": (found.test[0], test), "score": fit}
    return few(model, found, Adam(model.parameters(), lr=5e-3), loss_fn=nn.MSELoss(), **more)
