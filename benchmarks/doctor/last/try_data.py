"""Tried in an afternoon: one slip in the loading of ordinary pictures."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import timm
import torch
from benchmarks.doctor.cases import Given, batched, fault
from benchmarks.doctor.last.try_nets import CifarNet, DeepLab, LeNet, TransposedUNet, few, masks, signs, vgg
from benchmarks.doctor.nets import adam, mlp, sgd
from benchmarks.doctor.pictures import Pictures, digits, shapes
from benchmarks.doctor.scores import balanced_accuracy, iou_above
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW


def both(pictures: Pictures, change: object) -> Pictures:
    """Return pictures whose inputs, also those to try it on, went through one function."""
    assert callable(change)
    return Pictures(change(pictures.inputs), pictures.targets, (change(pictures.test[0]), pictures.test[1]))


@fault(
    "common pattern: cv2.imread and torch.from_numpy(...).float() without / 255, as in many forum threads",
    "input-unnormalized",
)
def tutorial_net_on_bytes(seed: int, bad: bool) -> Given:
    """cv2.imread and torch.from_numpy(...).float(): pixels of 0 to 255, no ToTensor, no Normalize."""
    found = signs(seed)
    model = CifarNet()
    return few(model, both(found, lambda x: (x * 255).round()) if bad else found.normalized(), sgd(model, 0.01))


@fault(
    "common pattern: ToTensor() already divides by 255, and __getitem__ divides again",
    "input-tiny-scale",
    allowed=["input-unnormalized", "wrong-normalization-stats"],
)
def digits_divided_twice(seed: int, bad: bool) -> Given:
    """The loader divides by 255 what ToTensor had divided already."""
    found = digits(seed, 96, 28)
    model = LeNet()
    optimizer = sgd(model, 0.05)
    return few(model, both(found, lambda x: x / 255) if bad else found.normalized(), optimizer)


@fault(
    "common pattern: albumentations' Normalize, made for bytes, on pictures that are in [0, 1] already",
    ["wrong-normalization-stats", "input-tiny-scale", "input-unnormalized"],
    allowed=["wrong-normalization-stats", "input-tiny-scale", "input-unnormalized"],
)
def byte_statistics_on_unit_pixels(seed: int, bad: bool) -> Given:
    """Pixels in [0, 1] are normalised by ImageNet's mean and deviation on the scale of 0 to 255."""
    found = signs(seed, num=96)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scale = 255 if bad else 1
    found = both(found, lambda x: (x - scale * mean[:, None, None]) / (scale * std[:, None, None]))
    options = {"img_size": 32, "patch_size": 8, "depth": 3, "embed_dim": 96, "num_heads": 4, "num_classes": 6}
    model = timm.create_model("vit_tiny_patch16_224", **options)
    return few(model, found, AdamW(model.parameters(), lr=5e-4))


@fault(
    "common pattern: img / 255 followed by .astype(np.uint8) before ToTensor",
    "input-constant",
    allowed=["input-tiny-scale", "input-unnormalized", "duplicate-samples"],
)
def unit_pixels_cast_to_bytes(seed: int, bad: bool) -> Given:
    """Pixels in [0, 1] are cast to integers: all that is not quite white becomes black."""
    found = both(signs(seed, num=64), lambda x: x * 0.95)
    model = vgg(6)
    return few(model, both(found, lambda x: x.to(torch.uint8).float()) if bad else found.normalized(), adam(model))


@fault("common pattern: (x - x.mean()) / x.std() of each picture, of which one is blank", "input-nonfinite")
def blank_scan_standardized(seed: int, bad: bool) -> Given:
    """Each picture is divided by its own deviation; one scan is blank, so that 0 / 0 comes out."""
    found = digits(seed, 96, 28)
    images = found.inputs.clone()
    images[41] = 0

    def standardize(x: Tensor) -> Tensor:
        std = x.std((1, 2, 3), keepdim=True)
        return (x - x.mean((1, 2, 3), keepdim=True)) / (std if bad else std.clamp_min(1e-3))

    model = mlp(784, 10)
    return few(model, both(Pictures(images, found.targets, found.test), standardize), adam(model))


@fault("https://discuss.pytorch.org/t/for-beginners-do-not-use-view-or-reshape-to-swap-dimensions-of-tensors/75524",
       "input-layout")  # fmt: skip
def opencv_pictures_reshaped(seed: int, bad: bool) -> Given:
    """Pictures H x W x 3 are brought to 3 x H x W by reshape instead of by transpose."""
    found = signs(seed).normalized()
    model = vgg(6, norm=True)
    as_read = both(found, lambda x: x.permute(0, 2, 3, 1).reshape(x.shape))
    return few(model, as_read if bad else found, adam(model, 2e-3))


@fault("https://github.com/milesial/Pytorch-UNet/issues/133", "label-out-of-range", harm="raises")
def classes_from_one_to_six(seed: int, bad: bool) -> Given:
    """The annotation file counts classes from 1 to 6, the head has six outputs, 0 to 5."""
    found = signs(seed, num=32).normalized()
    model = CifarNet()
    return few(model, found, adam(model), batches=batched(found.inputs, found.targets + int(bad)))


@fault("https://github.com/milesial/Pytorch-UNet/issues/78", "label-out-of-range", allowed=["loss-mismatch"])
def masks_of_255_in_a_binary_loss(seed: int, bad: bool) -> Given:
    """Masks are read from PNG files as 0 and 255 and go into BCEWithLogitsLoss as they are."""
    found = shapes(seed, 32).normalized()
    drawn = (found.targets > 0).float()[:, None]
    model = TransposedUNet(1, 1)
    loss = nn.BCEWithLogitsLoss()
    batches = batched(found.inputs, drawn * 255 if bad else drawn, 16)
    test = (found.test[0], (found.test[1] > 0).long()[:, None])
    return masks(model, found, adam(model, 3e-3), loss_fn=loss, batches=batches, test=test, score=iou_above(0.0))


@fault("https://github.com/divamgupta/image-segmentation-keras/issues/11", "mask-interpolated", updates=120)
def class_masks_resized_bilinearly(seed: int, bad: bool) -> Given:
    """Masks of five classes are resized to the input size with the picture's interpolation, then cast to integers."""
    found = shapes(seed, 64, 64, sides=(6, 12))

    def resized(x: Tensor, mode: str) -> Tensor:
        return F.interpolate(x.float(), size=(24, 24), mode=mode, antialias=mode == "bilinear")

    targets = resized(found.targets[:, None], "bilinear" if bad else "nearest")[:, 0].long()
    inputs, test = resized(found.inputs, "bilinear"), resized(found.test[0], "bilinear")
    truth = resized(found.test[1][:, None], "nearest")[:, 0].long()
    model = DeepLab(1, 5)
    return masks(model, Pictures(inputs, targets, (test, truth)).normalized(), adam(model, 3e-3))


@fault("https://github.com/divamgupta/image-segmentation-keras/issues/191", "mask-misaligned", updates=120)
def flips_of_the_picture_only(seed: int, bad: bool) -> Given:
    """The random horizontal flip is drawn for the picture and for the mask on their own."""
    found = shapes(seed, 96).normalized()
    generator = torch.Generator().manual_seed(seed)
    image_flips, mask_flips = torch.rand(2, 96, generator=generator) < 0.5
    mask_flips = mask_flips if bad else image_flips
    inputs = torch.where(image_flips[:, None, None, None], found.inputs.flip(-1), found.inputs)
    targets = torch.where(mask_flips[:, None, None], found.targets.flip(-1), found.targets)
    model = TransposedUNet(1, 5)
    return masks(model, Pictures(inputs, targets, found.test), adam(model, 3e-3))


@fault("common pattern: CrossEntropyLoss(ignore_index=0) where 0 is the ground", "ignore-index-hides-data")
def ground_left_out_of_the_loss(seed: int, bad: bool) -> Given:
    """The ground, class 0, is ignored by the loss "because it is not a class", but it is to be predicted."""
    found = shapes(seed, 48).normalized()
    model = DeepLab(1, 5)
    loss = nn.CrossEntropyLoss(ignore_index=0) if bad else nn.CrossEntropyLoss()
    return masks(model, found, adam(model, 3e-3), loss_fn=loss)


@fault("https://github.com/Dana-Farber-AIOS/pathml/issues/56",
       "labels-uninformative")  # fmt: skip
def labels_from_an_unsorted_list(seed: int, bad: bool) -> Given:
    """Pictures are listed by glob, labels by another listing: their orders differ."""
    found = signs(seed, num=256).normalized()
    order = torch.randperm(256) if bad else torch.arange(256)
    model = vgg(6)
    return few(model, Pictures(found.inputs, found.targets[order], found.test), adam(model))


@fault("common pattern: one numpy buffer is filled and appended again and again", "duplicate-samples",
       allowed=["labels-uninformative"])  # fmt: skip
def one_buffer_for_all_pictures(seed: int, bad: bool) -> Given:
    """Sixteen pictures at a time are read into one array that is appended sixteen times: all are the last one."""
    found = signs(seed, num=128).normalized()
    last = torch.arange(128) // 16 * 16 + 15
    model = CifarNet()
    inputs = found.inputs[last] if bad else found.inputs
    return few(model, Pictures(inputs, found.targets, found.test), adam(model))


@fault("https://github.com/Deci-AI/super-gradients/issues/416",
       "unshuffled-batches")  # fmt: skip
def folders_read_in_order(seed: int, bad: bool) -> Given:
    """ImageFolder lists one class after the other, and the loader does not shuffle."""
    found = signs(seed, num=192).normalized()
    order = found.targets.argsort() if bad else torch.arange(192)
    model = vgg(6)
    return few(model, Pictures(found.inputs[order], found.targets[order], found.test), sgd(model, 0.02))


@fault("common pattern: defects are one picture in thirty and the loss is plain", "class-imbalance", updates=48)
def one_defect_in_thirty(seed: int, bad: bool) -> Given:
    """Two classes thirty to one; the loss is left without weights and the sampler without balance."""
    found = signs(seed, num=1600)
    rare, common = (torch.where(found.targets == kind)[0] for kind in (2, 1))
    many = torch.cat([common[:248], rare[:8]]) if bad else torch.cat([common[:128], rare[:128]])
    many = many[torch.randperm(len(many))]
    labels = (found.targets == 2).long()
    kept = (found.test[1] == 1) | (found.test[1] == 2)
    test = (found.test[0][kept], (found.test[1][kept] == 2).long())
    model = CifarNet(2)
    data = Pictures(found.inputs[many], labels[many], test).normalized()
    return few(model, data, adam(model), score=balanced_accuracy)


@fault("https://github.com/open-mmlab/mmaction2/issues/590", "augmentation-changes-label")
def mirrored_arrows(seed: int, bad: bool) -> Given:
    """RandomHorizontalFlip on road signs: a left arrow becomes a right arrow and keeps its label."""
    found = signs(seed).normalized()
    model = vgg(6)

    def flip(images: Tensor) -> Tensor:
        chosen = torch.rand(len(images), 1, 1, 1) < 0.5
        return torch.where(chosen, images.flip(-1), images)

    def shift(images: Tensor) -> Tensor:
        return images.roll(int(torch.randint(-2, 3, ())), -1)

    return few(model, found, adam(model, 2e-3), transform=flip if bad else shift)


@fault("common pattern: oversampling or augmenting before train_test_split", "train-val-leakage", harm="static")
def split_after_oversampling(seed: int, bad: bool) -> Given:
    """Pictures are copied to balance the classes, then split: validation has what was trained on, so it looks good.

    Training itself is not hurt; what is wrong is the score that is read off.
    """
    found = signs(seed, num=192).normalized()
    model = CifarNet()
    learn = Pictures(found.inputs[:128], found.targets[:128], found.test)
    rows = torch.cat([torch.arange(20, 72), torch.arange(128, 140)]) if bad else torch.arange(128, 192)
    return few(model, learn, adam(model), val_batches=batched(found.inputs[rows], found.targets[rows]))
