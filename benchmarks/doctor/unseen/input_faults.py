"""Faults of what goes into the net: scale, statistics, layout."""

# N batch, C channels, H W pixels

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from benchmarks.doctor.cases import Given, batched, fault
from benchmarks.doctor.unseen.nets import Unet, classifier
from benchmarks.doctor.unseen.pictures import foreground, normalized, overlap, scenes, textures
from torch import Tensor, nn

IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def _textures(seed: int, train: Tensor, test: Tensor) -> Given:
    """Tell textures apart without batch norm, from prepared inputs."""
    model = classifier(3, 4, norm=False)
    labels, truth = textures(seed)[1], textures(seed, held_out=True)[1]
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Given(model, batched(train, labels), F.cross_entropy, adam, test=(test, truth))


def _pictures(seed: int) -> tuple[Tensor, Tensor]:
    return textures(seed)[0], textures(seed, held_out=True)[0]


@fault("https://github.com/facebookresearch/InterHand2.6M/issues/110", "input-tiny-scale")
def divided_after_to_tensor(seed: int, broken: bool) -> Given:
    """ToTensor has scaled to 0..1 already; the data set divides by 255 again."""
    train, test = (images / 255 if broken else images for images in _pictures(seed))
    return _textures(seed, train, test)


@fault(
    "https://github.com/4uiiurz1/pytorch-nested-unet/issues/62",
    ("wrong-normalization-stats", "input-tiny-scale", "input-constant"),
)
def normalize_expects_bytes(seed: int, broken: bool) -> Given:
    """The data set divides by 255, and so does the normalising step, whose statistics are in units of bytes."""

    def prepared(images: Tensor) -> Tensor:
        return ((images / 255 if broken else images) - IMAGENET_MEAN) / IMAGENET_STD

    (images, masks), (test, truth) = scenes(seed), scenes(seed, held_out=True)
    model = Unet(norm=False)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = batched(prepared(images), foreground(masks), 8)
    held_out = prepared(test), foreground(truth)
    return Given(model, batches, nn.BCEWithLogitsLoss(), adam, test=held_out, score=overlap)


@fault(
    "https://github.com/CSAILVision/GazeCapture/issues/32",
    ("wrong-normalization-stats", "input-unnormalized"),
)
def mean_in_bytes(seed: int, broken: bool) -> Given:
    """A mean picture in 0..255 is subtracted from pictures that a newer ToTensor leaves in 0..1."""
    train, test = _pictures(seed)
    mean = train.mean(0) * (255 if broken else 1)
    return _textures(seed, train - mean, test - mean)


@fault(
    "https://github.com/mks0601/3DMPPE_POSENET_RELEASE/issues/69",
    ("input-unnormalized", "wrong-normalization-stats"),
)
def imagenet_statistics_on_bytes(seed: int, broken: bool) -> Given:
    """ImageNet's mean and deviation, which are of 0..1, are applied to 0..255: values up to 1,100."""
    train, test = (((255 if broken else 1) * images - IMAGENET_MEAN) / IMAGENET_STD for images in _pictures(seed))
    given = _textures(seed, train, test)
    return replace(given, optimizer=torch.optim.SGD(given.model.parameters(), lr=0.01, momentum=0.9))


@fault(
    "https://github.com/soumith/imagenet-multiGPU.torch/pull/18",
    ("wrong-normalization-stats", "input-unnormalized"),
)
def normalized_when_loaded_and_again(seed: int, broken: bool) -> Given:
    """Mean and deviation are applied when a picture is loaded, and once more in the hook; there is no batch norm."""
    train, test = ((images - IMAGENET_MEAN) / IMAGENET_STD for images in _pictures(seed))
    if broken:
        train, test = ((images - IMAGENET_MEAN) / IMAGENET_STD for images in (train, test))
    given = _textures(seed, train, test)
    return replace(given, optimizer=torch.optim.SGD(given.model.parameters(), lr=0.02, momentum=0.9))


@fault(
    "https://github.com/InnopolisUni/innofw/issues/96",
    "input-constant",
    allowed=("input-tiny-scale", "duplicate-samples", "labels-uninformative"),
)
def bytes_of_unit_scale(seed: int, broken: bool) -> Given:
    """Pictures in 0..1 are cast to uint8 by a later step: all zeros."""
    train, test = (images.to(torch.uint8).float() if broken else images for images in _pictures(seed))
    return _textures(seed, train, test)


@fault("https://github.com/Project-MONAI/MONAI/issues/1092", "input-nonfinite")
def blank_slices(seed: int, broken: bool) -> Given:
    """Every picture is divided by its own deviation; two are blank, as slices beside the organ are."""

    def prepared(images: Tensor) -> Tensor:
        spread = images.std((1, 2, 3), keepdim=True)
        return (images - images.mean((1, 2, 3), keepdim=True)) / (spread if broken else spread + 1e-6)

    (images, masks), (test, truth) = scenes(seed), scenes(seed, held_out=True)
    images[5:7], masks[5:7] = 0, 0
    model = Unet()
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    batches = batched(prepared(images), foreground(masks), 8)
    held_out = prepared(test), foreground(truth)
    return Given(model, batches, nn.BCEWithLogitsLoss(), adam, test=held_out, score=overlap)


@fault("https://github.com/Selen-Suyue/DensePolicy2D/issues/3", "input-layout", allowed=("mask-misaligned",))
def reshape_for_permute(seed: int, broken: bool) -> Given:
    """Pictures H W C are reshaped to C H W, which mixes colours and places."""

    def prepared(images: Tensor) -> Tensor:
        last = normalized(images).permute(0, 2, 3, 1).contiguous()
        return last.reshape(images.shape) if broken else last.permute(0, 3, 1, 2)

    (images, masks), (test, truth) = scenes(seed), scenes(seed, held_out=True)
    model = Unet()
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    batches = batched(prepared(images), foreground(masks), 8)
    held_out = prepared(test), foreground(truth)
    return Given(model, batches, nn.BCEWithLogitsLoss(), adam, test=held_out, score=overlap)
