"""Faults of targets, of how they go with the pictures, and of how samples are drawn."""

# N batch, C channels, H W pixels

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from benchmarks.doctor.cases import Batch, Given, batched, fault
from benchmarks.doctor.unseen.nets import Unet, classifier
from benchmarks.doctor.unseen.pictures import digits, foreground, mean_overlap, normalized, overlap, recall, scenes
from torch import Tensor, nn


def _digits(seed: int, train: Batch) -> Given:
    """Read digits that are given in 0..1; the test is always the true one."""
    model = classifier(1, 10)
    images, truth = digits(seed, held_out=True)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    batches = batched(normalized(train[0]), train[1])
    return Given(model, batches, nn.CrossEntropyLoss(), adam, test=(normalized(images), truth))


def _binary(seed: int, images: Tensor, targets: Tensor) -> Given:
    """Find discs with one output channel and a binary loss."""
    model = Unet()
    test, truth = scenes(seed, held_out=True)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    held_out = normalized(test), foreground(truth)
    batches = batched(normalized(images), targets, 8)
    return Given(model, batches, nn.BCEWithLogitsLoss(), adam, test=held_out, score=overlap)


def _several(seed: int, train: Batch, test: Batch, loss: nn.Module) -> Given:
    """Find discs of several kinds, or one, with an output channel for each class."""
    model = Unet(out_channels=max(2, int(test[1].max()) + 1))
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Given(model, batched(normalized(train[0]), train[1], 8), loss, adam, test=test, score=mean_overlap)


@fault("https://github.com/JCruan519/EGE-UNet/issues/1", ("labels-uninformative", "mask-misaligned"))
def unsorted_listings(seed: int, broken: bool) -> Given:
    """Pictures and masks are listed separately, in the order that the file system has."""
    images, masks = scenes(seed)
    return _binary(seed, images, foreground(masks[torch.randperm(len(masks))] if broken else masks))


@fault("https://github.com/NoahVl/Explaining-In-Style-Reproducibility-Study/issues/9", "labels-uninformative")
def rows_in_another_order(seed: int, broken: bool) -> Given:
    """Labels come in the order of a table, pictures in that of an unsorted listing."""
    images, labels = digits(seed)
    return _digits(seed, (images, labels[torch.randperm(len(labels))] if broken else labels))


@fault("https://github.com/divamgupta/image-segmentation-keras/issues/11", "mask-interpolated")
def masks_resized_linearly(seed: int, broken: bool) -> Given:
    """Class indices are resized as pictures are: between classes 0 and 3 lie rings of 1 and 2."""

    def resized(pictures: Tensor, mode: str) -> Tensor:
        return F.interpolate(pictures, scale_factor=3.0, mode=mode)

    (images, masks), (test, truth) = (scenes(seed, kinds=3, size=12, held_out=part) for part in (False, True))
    targets = resized(masks[:, None].float(), "bilinear" if broken else "nearest").round().long()[:, 0]
    held_out = normalized(resized(test, "bilinear")), resized(truth[:, None].float(), "nearest").long()[:, 0]
    return _several(seed, (resized(images, "bilinear"), targets), held_out, nn.CrossEntropyLoss())


@fault("https://github.com/fastai/fastai/issues/245", ("mask-misaligned", "labels-uninformative"))
def flipped_without_the_mask(seed: int, broken: bool) -> Given:
    """Random flips turn the picture over, the mask stays."""
    images, masks = scenes(seed)
    turned = (torch.rand(len(images)) < 0.5).view(-1, 1, 1)
    moved = masks if broken else torch.where(turned, masks.flip(-1), masks)
    return _binary(seed, torch.where(turned[..., None], images.flip(-1), images), foreground(moved))


@fault("https://github.com/milesial/Pytorch-UNet/issues/78", "label-out-of-range")
def masks_of_bytes(seed: int, broken: bool) -> Given:
    """Masks of 0 and 255 go into a binary loss."""
    images, masks = scenes(seed)
    return _binary(seed, images, foreground(masks) * (255 if broken else 1))


@fault("https://github.com/open-mmlab/mmsegmentation/issues/1609", "ignore-index-hides-data")
def foreground_is_ignored(seed: int, broken: bool) -> Given:
    """The foreground is 255 in the files, and 255 is what the loss leaves out."""
    (images, masks), (test, truth) = scenes(seed), scenes(seed, held_out=True)
    loss = nn.CrossEntropyLoss(ignore_index=255)
    return _several(seed, (images, masks * (255 if broken else 1)), (normalized(test), truth), loss)


@fault("https://github.com/open-mmlab/mmsegmentation/issues/1714", "ignore-index-hides-data", updates=120)
def background_reduced_away(seed: int, broken: bool) -> Given:
    """An option for data without background turns class 0 into "ignore" and class 1 into 0; the background was real."""
    (images, masks), (test, truth) = scenes(seed), scenes(seed, held_out=True)
    reduced = torch.where(masks == 0, 255, masks - 1)
    loss = nn.CrossEntropyLoss(ignore_index=255)
    return _several(seed, (images, reduced if broken else 1 - masks), (normalized(test), 1 - truth), loss)


@fault(
    "https://github.com/fregu856/deeplabv3/issues/15",
    "label-out-of-range",
    allowed=("head-size-mismatch",),
    harm="raises",
)
def grey_values_for_classes(seed: int, broken: bool) -> Given:
    """Masks hold the grey values of a palette, 0, 78 and 156, where the loss wants 0, 1 and 2."""
    (images, masks), (test, truth) = scenes(seed, kinds=2), scenes(seed, kinds=2, held_out=True)
    return _several(seed, (images, masks * (78 if broken else 1)), (normalized(test), truth), nn.CrossEntropyLoss())


@fault(
    "https://github.com/TencentGameMate/gnn_cross_lingual/issues/5",
    ("label-out-of-range", "head-size-mismatch"),
    harm="raises",
)
def classes_from_one(seed: int, broken: bool) -> Given:
    """Labels run from 1 to 10 and the net has 10 outputs."""
    images, labels = digits(seed)
    return _digits(seed, (images, labels + broken))


@fault("https://github.com/Deci-AI/super-gradients/issues/416", "unshuffled-batches")
def folder_after_folder(seed: int, broken: bool) -> Given:
    """The loader's default is not to shuffle, and the folder has one class after the other."""
    images, labels = digits(seed, 320)
    order = labels.argsort(stable=True) if broken else torch.arange(len(labels))
    return _digits(seed, (images[order], labels[order]))


@fault(
    "https://github.com/bcmi/Object-Shadow-Generation-Dataset-DESOBAv2/issues/13",
    "duplicate-samples",
)
def one_picture_a_thousand_times(seed: int, broken: bool) -> Given:
    """An export has put one picture into most rows of the data set."""
    images, masks = scenes(seed)
    rows = torch.where(torch.rand(len(images)) < 0.95, 3, torch.arange(len(images))) if broken else slice(None)
    return _binary(seed, images[rows], foreground(masks[rows]))


@fault(
    "https://github.com/MVC-Datasets/MVC/issues/4",
    "duplicate-samples",
    allowed=("labels-uninformative",),
)
def one_shot_under_several_labels(seed: int, broken: bool) -> Given:
    """The same files are listed under several products, so that a picture comes with several labels."""
    images, labels = digits(seed)
    if broken:
        images = images[:96].repeat(2, 1, 1, 1)
        labels = torch.cat([labels[:96], (labels[:96] + torch.randint(1, 10, (96,))) % 10])
    order = torch.randperm(len(labels))
    return _digits(seed, (images[order], labels[order]))


@fault("https://github.com/BatteryDEV/AutoECM/issues/13", "train-val-leakage", harm="static")
def shuffled_before_each_cut(seed: int, broken: bool) -> Given:
    """Training and validation part are cut from two shuffles; the harm is a validation score that is too good."""
    images, labels = digits(seed, 256)
    other = torch.randperm(256)[:64] if broken else torch.arange(192, 256)
    val = batched(normalized(images)[other], labels[other])
    return replace(_digits(seed, (images[:192], labels[:192])), val_batches=val)


@fault("https://github.com/ChaitanyaBaweja/RotNIST/issues/1", "augmentation-changes-label")
def six_becomes_nine(seed: int, broken: bool) -> Given:
    """Half of the pictures are turned upside down, among them sixes and nines."""

    def turned(images: Tensor) -> Tensor:
        upside_down = torch.rand(len(images), 1, 1, 1) < 0.5
        return torch.where(upside_down, images.flip(-1, -2), images)

    (images, labels), (test, truth) = (digits(seed, classes=(6, 9), held_out=part) for part in (False, True))
    model = classifier(1, 2)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches, held_out = batched(normalized(images), labels), (normalized(test), truth)
    return Given(model, batches, F.cross_entropy, adam, transform=turned if broken else None, test=held_out)


@fault("https://github.com/jakeret/tf_unet/issues/234", "class-imbalance")
def one_pixel_in_a_hundred(seed: int, broken: bool) -> Given:
    """Lesions cover one pixel in a hundred; the plain loss is content with no mask at all."""
    (images, masks), (test, truth) = (scenes(seed, kinds=2, held_out=part) for part in (False, True))
    small, rare = (_shrunk(part) for part in (masks, truth))
    weight = torch.tensor([1.0, float((small == 0).sum() / (small == 1).sum())])
    loss = nn.CrossEntropyLoss(weight=None if broken else weight)
    given = _several(seed, (images, small), (normalized(test), rare), loss)
    sgd = torch.optim.SGD(given.model.parameters(), lr=0.05, momentum=0.9)
    return replace(given, optimizer=sgd, score=recall)


def _shrunk(masks: Tensor) -> Tensor:
    """Keep the middles of discs of the second kind as the only class."""
    return (-F.max_pool2d(-(masks == 2).float().unsqueeze(1), 5, 1, 2)).squeeze(1).long()
