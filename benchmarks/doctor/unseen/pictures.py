"""Pictures of the unseen part: scikit-learn's digits, and cuttings from its two photographs."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from benchmarks.doctor.cases import Batch, evaluating
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor, nn

Region = tuple[int, int, int, int, int]

REGIONS: tuple[Region, ...] = (
    (0, 110, 330, 95, 330),
    (0, 330, 427, 330, 560),
    (1, 100, 340, 190, 420),
    (1, 20, 400, 450, 640),
)
"""Pagoda, trees, petals and leaves: photograph, first and last row, first and last column."""
SCENERY: Region = (0, 0, 427, 0, 640)
TRAINED_DIGITS = 1300


@cache
def _digits() -> Batch:
    scans = load_digits()
    order = torch.randperm(len(scans.target), generator=torch.Generator().manual_seed(7))
    images = torch.from_numpy(scans.images).float().unsqueeze(1) / 16
    return images[order], torch.from_numpy(scans.target).long()[order]


@cache
def _photographs() -> Tensor:
    return torch.stack([torch.from_numpy(picture.copy()).permute(2, 0, 1) for picture in load_sample_images().images])


def digits(
    seed: int, count: int = 192, *, classes: Sequence[int] = range(10), size: int = 16, held_out: bool = False
) -> Batch:
    """Draw handwritten digits.

    Args:
        seed: of the draw.
        count: how many, at most.
        classes: which digits; labels are places in this list.
        size: of a side in pixels.
        held_out: draw from scans that training never has.

    Returns:
        Images N 1 H W in 0..1, and labels.
    """
    scans, numbers = (part[TRAINED_DIGITS:] if held_out else part[:TRAINED_DIGITS] for part in _digits())
    wanted = torch.tensor(list(classes))
    found = (numbers[:, None] == wanted).any(1).nonzero().flatten()
    chosen = found[torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))[:count]]
    labels = (numbers[chosen][:, None] == wanted).int().argmax(1)
    return F.interpolate(scans[chosen], (size, size), mode="bilinear"), labels


def textures(seed: int, count: int = 192, *, size: int = 32, held_out: bool = False) -> Batch:
    """Cut squares from four parts of the photographs: pagoda, trees, petals, leaves.

    Returns:
        Images N 3 H W in 0..1, and which part. Held-out squares are from other columns of the photographs.
    """
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(REGIONS), (count,), generator=draw)
    images = [_cut(REGIONS[int(label)], size, held_out, draw) for label in labels]
    return torch.stack(images), labels


def scenes(
    seed: int, count: int = 48, *, kinds: int = 1, size: int = 32, discs: int = 3, held_out: bool = False
) -> Batch:
    """Draw scenery with discs of other material on it: of petals, and with more kinds of leaves, of trees.

    Args:
        seed: of the draw.
        count: how many.
        kinds: of material.
        size: of a side in pixels.
        discs: in a picture.
        held_out: cut from other columns of the photographs.

    Returns:
        Images N 3 H W in 0..1, and masks N H W: 0 for scenery, 1 and up for the materials.
    """
    draw = torch.Generator().manual_seed(seed)
    rows = torch.arange(size).float()
    images, masks = [], torch.zeros(count, size, size, dtype=torch.long)
    for mask in masks:
        image = _cut(SCENERY, size, held_out, draw)
        for number in range(discs):
            row, column, spread = torch.rand(3, generator=draw).tolist()
            inside = (rows[:, None] - row * size) ** 2 + (rows - column * size) ** 2 < (
                (0.09 + 0.12 * spread) * size
            ) ** 2
            kind = number % kinds
            image = torch.where(inside, _cut(REGIONS[(2, 3, 1)[kind]], size, held_out, draw), image)
            mask[inside] = kind + 1
        images.append(image)
    return torch.stack(images), masks


def _cut(region: Region, size: int, held_out: bool, draw: torch.Generator) -> Tensor:
    photograph, top, bottom, left, right = region
    border = left + (right - left) * 3 // 5
    left, right = (border, right) if held_out else (left, border)
    row = int(torch.randint(top, bottom - size + 1, (1,), generator=draw))
    column = int(torch.randint(left, right - size + 1, (1,), generator=draw))
    return _photographs()[photograph, :, row : row + size, column : column + size].float() / 255


def normalized(images: Tensor) -> Tensor:
    """Return images with mean 0 and standard deviation 1 in every channel of the whole set."""
    axes = (0, 2, 3)
    return (images - images.mean(axes, keepdim=True)) / images.std(axes, keepdim=True)


def single(images: Tensor) -> Tensor:
    """Return every image with mean 0 and standard deviation 1 in its own channels, so that only texture is left."""
    axes = (2, 3)
    return (images - images.mean(axes, keepdim=True)) / (images.std(axes, keepdim=True) + 1e-3)


def foreground(masks: Tensor) -> Tensor:
    """Return masks N H W as float targets N 1 H W for a binary loss."""
    return (masks > 0).float().unsqueeze(1)


def overlap(model: nn.Module, test: Batch, threshold: float = 0.0) -> float:
    """Return the IoU of what lies above a threshold with binary masks of the same shape."""
    inputs, targets = test
    with evaluating(model):
        found = model(inputs) > threshold
    wanted = targets > 0.5
    return float((found & wanted).sum() / (found | wanted).sum().clamp(min=1))


def mean_overlap(model: nn.Module, test: Batch) -> float:
    """Return the mean IoU over the classes of the test, from one output channel for each class."""
    inputs, targets = test
    with evaluating(model):
        found = model(inputs).argmax(1)
    pairs = [(found == label, targets == label) for label in targets.unique()]
    return float(torch.stack([(one & other).sum() / (one | other).sum() for one, other in pairs]).mean())


def recall(model: nn.Module, test: Batch) -> float:
    """Return the mean over classes of the share of a class that is found."""
    inputs, targets = test
    with evaluating(model):
        found = model(inputs).argmax(1)
    return float(torch.stack([(found[targets == label] == label).float().mean() for label in targets.unique()]).mean())


def explained(model: nn.Module, test: Batch) -> float:
    """Return the share of the variance of targets that outputs explain."""
    inputs, targets = test
    with evaluating(model):
        outputs = model(inputs)
    return 1 - float(F.mse_loss(outputs.reshape(targets.shape), targets) / targets.var(unbiased=False))
