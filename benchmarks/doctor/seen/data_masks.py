"""Faults of masks, of rare classes, of the split and of augmentation."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from dataclasses import replace

import torch
from benchmarks.doctor.cases import Given, batched, fault
from benchmarks.doctor.nets import ConvNet, UNet, classify, segment, sgd
from benchmarks.doctor.pictures import Pictures, cells, digits, photos, shapes
from benchmarks.doctor.scores import balanced_accuracy, iou_above
from benchmarks.doctor.seen.sound_libraries import dice_and_bce
from torch import Tensor, nn
from torch.nn import functional as F


def _resized(pictures: Pictures, mode: str) -> Pictures:
    """Return pictures of half the size, their masks resized as numbers or as classes."""
    small = F.interpolate(pictures.targets[:, None].float(), scale_factor=0.5, mode=mode)[:, 0].long()
    true = F.interpolate(pictures.test[1][:, None].float(), scale_factor=0.5, mode="nearest")[:, 0].long()
    images, test = (F.avg_pool2d(one, 2) for one in (pictures.inputs, pictures.test[0]))
    return Pictures(images, small, (test, true))


@fault(
    "https://github.com/divamgupta/image-segmentation-keras/issues/11 (cv2.resize of class indices, linear)",
    "mask-interpolated",
    updates=120,
)
def class_masks_resized_linearly(seed: int, faulty: bool) -> Given:
    pictures = shapes(seed, size=64, sides=(5, 11))
    return segment(UNet(1, 5), _resized(pictures, "bilinear" if faulty else "nearest").normalized())


@fault(
    "https://github.com/ykamikawa/tf-keras-PSPNet/issues/2 (new values after resizing a mask)",
    "mask-interpolated",
    updates=100,
)
def soft_masks_of_nuclei(seed: int, faulty: bool) -> Given:
    """Masks were stored at a sixth of the size and enlarged again: their borders run from 0 to 1."""
    pictures = cells(seed).normalized()
    masks = pictures.targets[:, None].float()
    if faulty:
        small = F.interpolate(masks, scale_factor=1 / 6, mode="bilinear", antialias=True)
        masks = F.interpolate(small, size=masks.shape[-2:], mode="bilinear").clamp(0, 1)
    return segment(UNet(3, 1), replace(pictures, targets=masks), nn.BCEWithLogitsLoss(), score=iou_above(0.0))


@fault(
    "https://github.com/Project-MONAI/MONAI/issues/1102 (picture and mask are transformed by draws of their own)",
    "mask-misaligned",
    allowed={"labels-uninformative"},
    updates=100,
)
def flips_drawn_separately(seed: int, faulty: bool) -> Given:
    pictures = cells(seed).normalized()
    flips = torch.rand(2, len(pictures.inputs), generator=torch.Generator().manual_seed(seed)) < 0.5
    images = torch.where(flips[0].view(-1, 1, 1, 1), pictures.inputs.flip(-1), pictures.inputs)
    masks = torch.where(flips[int(faulty)].view(-1, 1, 1), pictures.targets.flip(-1), pictures.targets)
    return segment(UNet(3, 2), replace(pictures, inputs=images, targets=masks))


@fault(
    "common pattern: width and height exchanged when masks are drawn from polygons",
    "mask-misaligned",
    allowed={"labels-uninformative"},
)
def masks_transposed(seed: int, faulty: bool) -> Given:
    pictures = shapes(seed, num=192).normalized()
    masks = pictures.targets.transpose(1, 2).contiguous() if faulty else pictures.targets
    return segment(UNet(1, 5), replace(pictures, targets=masks))


@fault(
    "https://github.com/fastai/fastai/issues/245 (RandomRotate and RandomFlip do not respect the mask)",
    "mask-misaligned",
    allowed={"labels-uninformative"},
    updates=100,
)
def crops_drawn_separately(seed: int, faulty: bool) -> Given:
    pictures = cells(seed, size=60).normalized()
    corners = torch.randint(0, 12, (2, len(pictures.inputs), 2), generator=torch.Generator().manual_seed(seed)).tolist()

    def crop(one: Tensor, corner: list[int]) -> Tensor:
        return one[..., corner[0] : corner[0] + 48, corner[1] : corner[1] + 48]

    images = torch.stack([crop(one, corner) for one, corner in zip(pictures.inputs, corners[0], strict=True)])
    masks = torch.stack([crop(one, corner) for one, corner in zip(pictures.targets, corners[int(faulty)], strict=True)])
    return segment(UNet(3, 2), replace(pictures, inputs=images, targets=masks))


@fault(
    "https://github.com/yassouali/CCT/issues/55 (ignore_index=0, where 0 is the ground)",
    "ignore-index-hides-data",
    allowed={"class-imbalance"},
)
def ground_is_ignored(seed: int, faulty: bool) -> Given:
    pictures = cells(seed).normalized()
    return segment(UNet(3, 2), pictures, nn.CrossEntropyLoss(ignore_index=0 if faulty else -100))


@fault(
    "https://github.com/open-mmlab/mmsegmentation/issues/962 (reduce_zero_label=True, but 0 is a class)",
    "ignore-index-hides-data",
    allowed={"head-size-mismatch", "class-imbalance"},
    updates=120,
)
def zero_label_reduced(seed: int, faulty: bool) -> Given:
    pictures = shapes(seed).normalized()
    targets, true = (torch.where(one == 0, 255, one - 1) for one in (pictures.targets, pictures.test[1]))
    if faulty:
        # What was 1..4 is now 0..3; the score is that of all pixels, so that the ground must be known.
        pictures = Pictures(pictures.inputs, targets, (pictures.test[0], torch.where(true == 255, 4, true)))
    return segment(UNet(1, 5), pictures, nn.CrossEntropyLoss(ignore_index=255))


def _few_pixels(seed: int) -> Pictures:
    """Return pictures in which about one pixel of two hundred is a lesion, a little brighter than its ground."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(160, 1, 48, 48, generator=generator)
    masks = torch.zeros(160, 48, 48)
    places = torch.randint(2, 44, (160, 2), generator=generator).tolist()
    for image, mask, (top, left) in zip(images, masks, places, strict=True):
        mask[top : top + 3, left : left + 4] = 1
        image += 1.5 * mask
    masks = masks[:, None]
    return Pictures(images[:128], masks[:128], (images[128:], masks[128:]))


@fault("common pattern: lesions of half a percent of the pixels, plain cross-entropy", "class-imbalance", updates=180)
def lesions_under_plain_bce(seed: int, faulty: bool) -> Given:
    loss = nn.BCEWithLogitsLoss() if faulty else dice_and_bce
    model = UNet(1, 1)
    return segment(model, _few_pixels(seed), loss, sgd(model), score=iou_above(0.0))


def rare_eights(seed: int, every: int) -> Pictures:
    """Return the digit 8 among other digits, one of `every`; the test has as many of both."""
    pictures = digits(seed, num=1300)
    rare = pictures.targets == 8
    ones, others = pictures.inputs[rare], pictures.inputs[~rare]
    num = 16 * 32 // every
    images = torch.cat([ones[:num], others[: 16 * 32 - num]])
    labels = torch.cat([torch.ones(num), torch.zeros(16 * 32 - num)]).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return Pictures(images[order], labels[order], (pictures.test[0], (pictures.test[1] == 8).long()))


@fault("common pattern: one defect among thirty good parts, plain cross-entropy", "class-imbalance", updates=120)
def rare_eights_under_plain_loss(seed: int, faulty: bool) -> Given:
    pictures = rare_eights(seed, 32)
    loss = nn.CrossEntropyLoss(weight=None if faulty else torch.tensor([1.0, 31.0]))
    return classify(ConvNet(1, 2), pictures, loss, score=balanced_accuracy)


@fault(
    "https://github.com/jfzhang95/pytorch-deeplab-xception/issues/109 (weights = frequency / total)",
    "class-weights-inverted",
    allowed={"class-imbalance"},
    updates=120,
)
def weights_are_frequencies(seed: int, faulty: bool) -> Given:
    pictures = rare_eights(seed, 8)
    counts = torch.bincount(pictures.targets).float()
    weights = counts / counts.sum() if faulty else counts.sum() / (2 * counts)
    model = ConvNet(1, 2)
    return classify(model, pictures, nn.CrossEntropyLoss(weight=weights), sgd(model, 0.02), score=balanced_accuracy)


@fault(
    "common pattern: pos_weight = positives / negatives",
    "class-weights-inverted",
    allowed={"class-imbalance"},
    updates=100,
)
def positive_weight_upside_down(seed: int, faulty: bool) -> Given:
    pictures = cells(seed).normalized()
    masks = pictures.targets[:, None].float()
    share = masks.mean()
    weight = share / (1 - share) if faulty else (1 - share) / share
    loss = nn.BCEWithLogitsLoss(pos_weight=weight)
    return segment(UNet(3, 1), replace(pictures, targets=masks), loss, score=iou_above(0.0))


@fault(
    "https://github.com/stefyste/RIAWELC/issues/2 (every test picture is a training picture)",
    "train-val-leakage",
    harm="static",
)
def validation_on_training_pictures(seed: int, faulty: bool) -> Given:
    """The net learns as well as ever; it is the validation score that says too much."""
    pictures = photos(seed).normalized()
    test = pictures.test
    val = batched(pictures.inputs[:256], pictures.targets[:256]) if faulty else batched(*test)
    return classify(ConvNet(3, 4), pictures, val_batches=val)


@fault(
    "common pattern: augmented copies are written to disk first, and split afterwards",
    "train-val-leakage",
    harm="static",
)
def copies_split_after_augmentation(seed: int, faulty: bool) -> Given:
    """The net learns as well as ever; it is the validation score that says too much."""
    pictures = photos(seed).normalized()
    copies = pictures.inputs[:256].flip(-1) * 1.05 + 0.02
    val = batched(copies, pictures.targets[:256]) if faulty else batched(*pictures.test)
    return classify(ConvNet(3, 4), pictures, val_batches=val)


def _tiny_crops(images: Tensor) -> Tensor:
    """Return for every picture an enlarged window of a twentieth of it."""
    side = max(2, int(images.shape[-1] * 0.22))
    found = []
    for image in images:
        top, left = torch.randint(0, images.shape[-1] - side, (2,)).tolist()
        found.append(image[None, :, top : top + side, left : left + side])
    return F.interpolate(torch.cat(found), size=images.shape[-2:], mode="bilinear")


def small_shifts(images: Tensor) -> Tensor:
    """Return pictures moved by up to a pixel."""
    down, across = torch.randint(-1, 2, (2,)).tolist()
    return images.roll((down, across), (2, 3))


@fault(
    "common pattern: RandomResizedCrop with the scale of ImageNet's recipe, or less, on small pictures",
    "augmentation-changes-label",
    updates=100,
)
def crops_of_a_twentieth(seed: int, faulty: bool) -> Given:
    return classify(ConvNet(1, 10), digits(seed), transform=_tiny_crops if faulty else small_shifts)


def _turned(images: Tensor) -> Tensor:
    """Return pictures turned by a multiple of 90 degrees or mirrored, each by its own draw."""
    found = []
    for image in images:
        turns, mirrored = int(torch.randint(0, 4, ())), bool(torch.rand(()) < 0.5)
        found.append(image.rot90(turns, (1, 2)).flip(2) if mirrored else image.rot90(turns, (1, 2)))
    return torch.stack(found)


@fault("common pattern: turns and flips for digits, where a 6 becomes a 9", "augmentation-changes-label", updates=100)
def digits_turned_upside_down(seed: int, faulty: bool) -> Given:
    return classify(ConvNet(1, 10), digits(seed), transform=_turned if faulty else small_shifts)
