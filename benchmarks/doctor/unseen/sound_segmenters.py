"""Segmentation nets and losses that look unusual and are as they should be."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from benchmarks.doctor.cases import Batch, Given, LossFn, batched, evaluating, sound
from benchmarks.doctor.unseen.nets import Unet, conv
from benchmarks.doctor.unseen.pictures import foreground, mean_overlap, normalized, overlap, scenes
from benchmarks.doctor.unseen.shape_faults import ValidUnet, middle
from torch import Tensor, nn


def _discs(seed: int, model: nn.Module, loss: LossFn, batch_size: int = 8, lr: float = 3e-3) -> Given:
    """Find discs with one output channel."""
    (images, masks), (test, truth) = scenes(seed), scenes(seed, held_out=True)
    adam = torch.optim.Adam(model.parameters(), lr=lr)
    batches = batched(normalized(images), foreground(masks), batch_size)
    return Given(model, batches, loss, adam, test=(normalized(test), foreground(truth)), score=overlap)


@sound("https://github.com/JunMa11/SegLossOdyssey/issues/8")
def loss_below_zero(seed: int) -> Given:
    """The loss is minus the Dice score, between -1 and 0."""

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        probs, axes = torch.sigmoid(logits), (1, 2, 3)
        return -((2 * (probs * masks).sum(axes) + 1) / (probs.sum(axes) + masks.sum(axes) + 1)).mean()

    return _discs(seed, Unet(), loss)


@sound(
    "https://github.com/qubvel-org/segmentation_models.pytorch/blob/main/segmentation_models_pytorch/losses/tversky.py"
)
def tversky_of_logits(seed: int) -> Given:
    """The Tversky loss is given logits and takes the sigmoid itself; missed pixels cost more than false ones."""

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        probs = F.logsigmoid(logits).exp()
        both = (probs * masks).sum()
        return 1 - both / (both + 0.3 * (probs * (1 - masks)).sum() + 0.7 * ((1 - probs) * masks).sum() + 1e-7)

    return _discs(seed, Unet(), loss)


@sound(
    "https://github.com/facebookresearch/detectron2, RetinaNet's prior and focal loss",
    allowed=["class-imbalance"],
    updates=150,
)
def focal_loss_with_a_prior(seed: int) -> Given:
    """The last bias starts at the logit of 5 %, so that the rare foreground does not drown at first."""

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        probs = torch.sigmoid(logits)
        likely, weight = torch.where(masks > 0, probs, 1 - probs), torch.where(masks > 0, 0.75, 0.25)
        focal = weight * (1 - likely) ** 2 * F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
        return focal.sum() / masks.sum().clamp(min=1)

    model = Unet()
    nn.init.constant_(model.head.bias, math.log(0.05 / 0.95))  # type: ignore[arg-type]
    return _discs(seed, model, loss)


class Supervised(Unet):
    """A U-Net that is asked for its answer at every level; in eval mode only at the last."""

    def __init__(self) -> None:
        super().__init__()
        self.side_deep, self.side_second = nn.Conv2d(32, 1, 1), nn.Conv2d(16, 1, 1)

    def forward(self, images: Tensor) -> list[Tensor] | Tensor:  # type: ignore[override]
        """Return logits of the pictures' size, first the best."""
        first = self.first(images)
        second = self.second(F.max_pool2d(first, 2))
        deep = self.middle(F.max_pool2d(second, 2))
        up = self.up_second(torch.cat([F.interpolate(deep, scale_factor=2.0), second], 1))
        last = self.head(self.up_first(torch.cat([F.interpolate(up, scale_factor=2.0), first], 1)))
        if not self.training:
            return last
        sides = [self.side_second(up), self.side_deep(deep)]
        return [last, *(F.interpolate(side, images.shape[2:], mode="bilinear") for side in sides)]


@sound("https://github.com/MIC-DKFZ/nnUNet/issues/1277")
def answers_at_every_level(seed: int) -> Given:
    """Deep supervision: a list of outputs in training, whose losses are weighted 1, 1/2, 1/4."""

    def loss(outputs: list[Tensor], masks: Tensor) -> Tensor:
        parts = [F.binary_cross_entropy_with_logits(output, masks) / 2**level for level, output in enumerate(outputs)]
        return torch.stack(parts).sum()

    return _discs(seed, Supervised(), loss)


@sound("https://github.com/labmlai/annotated_deep_learning_paper_implementations/issues/281")
def middle_of_the_skip(seed: int) -> Given:
    """No padding, skips cut from the middle, and the loss asks for the middle of the mask."""
    return middle(_discs(seed, ValidUnet(corner=False), nn.BCEWithLogitsLoss()))


class Padded(nn.Module):
    """A U-Net for any size: what was upsampled is padded to the size of the skip."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.deep, self.last = conv(3, 8), conv(8, 16), conv(16, 8)
        self.up, self.head = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(8, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of the pictures' size."""
        first = self.first(images)
        up = self.up(self.deep(F.max_pool2d(first, 2)))
        rows, columns = first.shape[2] - up.shape[2], first.shape[3] - up.shape[3]
        up = F.pad(up, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
        return self.head(self.last(torch.cat([first, up], 1)))


@sound("https://github.com/milesial/Pytorch-UNet/issues/488")
def odd_sizes_padded(seed: int) -> Given:
    """Pictures of 31 pixels: upsampled maps have 30 and are padded by one."""
    given = _discs(seed, Padded(), nn.BCEWithLogitsLoss())
    assert given.test is not None
    batches = [(images[..., :31, :31], masks[..., :31, :31]) for images, masks in given.batches]
    test = given.test[0][..., :31, :31], given.test[1][..., :31, :31]
    return replace(given, batches=batches, test=test)


@sound("https://github.com/MIC-DKFZ/nnUNet/issues/370")
def instances_one_by_one(seed: int) -> Given:
    """Batches of one picture and instance norm, which keeps no running statistics and needs none."""
    layers: list[nn.Module] = []
    for from_size, to_size, wide in ((3, 16, 1), (16, 16, 2), (16, 16, 4)):
        layers.append(nn.Conv2d(from_size, to_size, 3, padding=wide, dilation=wide))
        layers += [nn.InstanceNorm2d(to_size, affine=True), nn.LeakyReLU(0.01)]
    return _discs(seed, nn.Sequential(*layers, nn.Conv2d(16, 1, 1)), nn.BCEWithLogitsLoss(), 1)


@sound("https://github.com/wkentaro/pytorch-fcn/issues/17, at the rate for it", allowed=["loss-reduction-sum"])
def sum_at_its_own_rate(seed: int) -> Given:
    """The loss is summed over all pixels of the batch, and the rate is that much smaller."""
    model = Unet()
    given = _discs(seed, model, nn.BCEWithLogitsLoss(reduction="sum"))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1 / (8 * 32 * 32), momentum=0.9)
    return replace(given, optimizer=sgd)


@sound("https://github.com/HRNet/HRNet-Semantic-Segmentation/issues/267")
def borders_are_void(seed: int) -> Given:
    """The pixels around every disc are 255 and left out, as in Pascal VOC; no class is."""
    (images, masks), (test, truth) = (scenes(seed, kinds=2, held_out=part) for part in (False, True))
    whole = masks.float().unsqueeze(1)
    border = F.max_pool2d(whole, 3, 1, 1) != -F.max_pool2d(-whole, 3, 1, 1)
    model = Unet(3)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    batches = batched(normalized(images), masks.masked_fill(border.squeeze(1), 255), 8)
    loss = nn.CrossEntropyLoss(ignore_index=255)
    return Given(model, batches, loss, adam, test=(normalized(test), truth), score=mean_overlap)


class Counter(nn.Module):
    """Counts by the sum of a density map that softplus keeps above zero."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(conv(3, 16), conv(16, 16, 2), nn.Conv2d(16, 1, 1))
        nn.init.constant_(self.maps[2].bias, -3.0)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """Return counts N."""
        return F.softplus(self.maps(images)).mean((1, 2, 3)) * 64


def _closer(model: nn.Module, test: Batch) -> float:
    """Return how much smaller the squared error is than that of the mean count."""
    with evaluating(model):
        return 1 - float(F.mse_loss(model(test[0]), test[1]) / test[1].var(unbiased=False))


@sound("common design: counts as sums of a density map, with the Poisson loss", score=0.2, updates=120)
def counts_by_density(seed: int) -> Given:
    """Outputs are positive, the loss is that of a Poisson count."""

    def drawn(held_out: bool) -> Batch:
        parts = [scenes(seed + discs, 16, discs=discs, held_out=held_out) for discs in (0, 2, 5)]
        order = torch.randperm(48)
        counts = torch.tensor([0.0, 2.0, 5.0]).repeat_interleave(16)
        return normalized(torch.cat([images for images, _ in parts]))[order], counts[order]

    model = Counter()
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    loss = nn.PoissonNLLLoss(log_input=False)
    return Given(model, batched(*drawn(False), 8), loss, adam, test=drawn(True), score=_closer)
