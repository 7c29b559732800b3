"""Faults of pictures and masks: how they are read, resized, normalised, paired and cut."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import torch
from benchmarks.doctor.cases import Given, batched, fault
from benchmarks.doctor.fresh.seg_nets import EncoderDecoder, FullyConv, PatchSegmenter, Pyramid
from benchmarks.doctor.fresh.seg_shared import binary, multiclass, spots
from benchmarks.doctor.nets import UNet, adam
from benchmarks.doctor.pictures import Pictures, cells, shapes
from torch import Tensor, nn
from torch.nn import functional as F


@fault("https://github.com/milesial/Pytorch-UNet/issues/78 (mask is 0-255)", "label-out-of-range")
def masks_as_saved_in_png(seed: int, faulty: bool) -> Given:
    """Masks are the bytes of the file, 0 and 255, and go into BCE with logits."""
    pictures = cells(seed, num=96, size=32).normalized()
    given = binary(EncoderDecoder(3, 1), pictures)
    if faulty:
        given.batches[:] = [(inputs, masks * 255) for inputs, masks in given.batches]
    return given


@fault(
    "https://github.com/VainF/DeepLabV3Plus-Pytorch/issues/91 (target out of bounds)",
    "label-out-of-range",
    harm="raises",
)
def void_border_without_ignore_index(seed: int, faulty: bool) -> Given:
    """The borders of objects are 255 as in Pascal VOC, and the loss is not told."""
    pictures = _with_void(shapes(seed, num=128).normalized())
    return multiclass(
        Pyramid(1, 5), pictures, nn.CrossEntropyLoss() if faulty else nn.CrossEntropyLoss(ignore_index=255)
    )


def _with_void(pictures: Pictures) -> Pictures:
    masks = pictures.targets.clone()
    edge = (masks[:, :, 1:] != masks[:, :, :-1]).nonzero(as_tuple=True)
    masks[edge] = 255
    return Pictures(pictures.inputs, masks, pictures.test)


@fault("https://github.com/ykamikawa/tf-keras-PSPNet/issues/2 (mask resizing interpolation)", "mask-interpolated")
def masks_resized_by_default(seed: int, faulty: bool) -> Given:
    """Masks with class numbers are enlarged bilinearly and cut to integers, so that borders get classes in between."""
    small = shapes(seed, num=128, size=16, sides=(3, 5))
    inputs, held_out = (F.interpolate(one, scale_factor=2.0, mode="bilinear") for one in (small.inputs, small.test[0]))
    mode = {"mode": "bilinear"} if faulty else {"mode": "nearest"}
    masks = F.interpolate(small.targets[:, None].float(), scale_factor=2.0, **mode)[:, 0].long()
    test = F.interpolate(small.test[1][:, None].float(), scale_factor=2.0)[:, 0].long()
    return multiclass(EncoderDecoder(1, 5), Pictures(inputs, masks, (held_out, test)).normalized())


@fault("https://github.com/albumentations-team/albumentations/issues/397 (transforms called twice)", "mask-misaligned")
def flips_drawn_for_each(seed: int, faulty: bool) -> Given:
    """A random flip is called once for the picture and once for the mask, and draws anew."""
    pictures = shapes(seed, num=160).normalized()
    draw = torch.rand(2, len(pictures.inputs), generator=torch.Generator().manual_seed(seed)) < 0.5
    first, second = draw[0], draw[1 if faulty else 0]
    inputs = torch.where(first[:, None, None, None], pictures.inputs.flip(3), pictures.inputs)
    masks = torch.where(second[:, None, None], pictures.targets.flip(2), pictures.targets)
    return multiclass(UNet(1, 5), Pictures(inputs, masks, pictures.test))


def _turned(inputs: Tensor) -> Tensor:
    turns = torch.randint(4, (len(inputs),)).tolist()
    return torch.stack([one.rot90(turn, (1, 2)) for one, turn in zip(inputs, turns, strict=True)])


def _brightened(inputs: Tensor) -> Tensor:
    return inputs + 0.2 * torch.randn(len(inputs), 1, 1, 1)


@fault(
    "https://github.com/Project-MONAI/MONAI/issues/1102 (rotation of image and segmentation differ)",
    ("mask-misaligned", "augmentation-changes-label"),
    allowed=("mask-misaligned", "augmentation-changes-label"),
)
def only_pictures_are_turned(seed: int, faulty: bool) -> Given:
    """The augmentation of a segmenter turns pictures by 90 degrees and never sees the masks."""
    pictures = cells(seed, num=128, size=32).normalized()
    return binary(EncoderDecoder(3, 1), pictures, transform=_turned if faulty else _brightened)


@fault("https://github.com/Trusted-AI/adversarial-robustness-toolbox/issues/2101 (np.reshape to CxHxW)", "input-layout")
def microscope_pictures_reshaped(seed: int, faulty: bool) -> Given:
    """Pictures H W C are reshaped to C H W."""

    def read(inputs: Tensor) -> Tensor:
        stored = inputs.permute(0, 2, 3, 1).contiguous()
        return stored.reshape(inputs.shape) if faulty else stored.permute(0, 3, 1, 2).contiguous()

    pictures = cells(seed, num=96, size=32).normalized()
    test = read(pictures.test[0]), pictures.test[1]
    return binary(UNet(3, 1), Pictures(read(pictures.inputs), pictures.targets, test))


@fault(
    "https://github.com/jina-ai/finetuner/pull/342 (A.Normalize on float images)",
    ("wrong-normalization-stats", "input-tiny-scale"),
    allowed=("wrong-normalization-stats", "input-tiny-scale", "input-unnormalized"),
)
def normalize_for_bytes_on_floats(seed: int, faulty: bool) -> Given:
    """Albumentations' Normalize, which divides by 255 itself, gets pictures that are in [0, 1] already."""
    most = 255.0 if faulty else 1.0
    pictures = cells(seed, num=96, size=32)
    mean = pictures.inputs.mean((0, 2, 3), keepdim=True) * most
    std = pictures.inputs.std((0, 2, 3), keepdim=True) * most
    test = (pictures.test[0] - mean) / std, pictures.test[1]
    return binary(FullyConv(3, 1), Pictures((pictures.inputs - mean) / std, pictures.targets, test))


@fault(
    "https://github.com/meetps/pytorch-semseg/issues/67 (ignore_index=0 for the background)", "ignore-index-hides-data"
)
def background_is_ignored(seed: int, faulty: bool) -> Given:
    """The background is class 0, and ignored in the hope of better foreground."""
    pictures = shapes(seed, num=128).normalized()
    return multiclass(UNet(1, 5), pictures, nn.CrossEntropyLoss(ignore_index=0) if faulty else nn.CrossEntropyLoss())


@fault(
    "https://github.com/milesial/Pytorch-UNet/issues/176 (most pixels 0: outputs fixed in negative values)",
    "class-imbalance",
    updates=80,
)
def spots_in_plain_bce(seed: int, faulty: bool) -> Given:
    """One pixel in four hundred is foreground, and the loss is plain BCE."""
    model = FullyConv(1, 1)
    loss_fn = nn.BCEWithLogitsLoss(pos_weight=None if faulty else torch.tensor(40.0))
    return binary(model, spots(seed), loss_fn, adam(model, 1e-3))


@fault(
    "https://github.com/advaitsave/Multiclass-Semantic-Segmentation-CamVid/issues/3 (os.listdir out of order)",
    "labels-uninformative",
)
def two_unsorted_listings(seed: int, faulty: bool) -> Given:
    """Pictures and masks come from two calls of os.listdir in different order."""
    pictures = shapes(seed, num=192).normalized()
    order = torch.randperm(192, generator=torch.Generator().manual_seed(seed))
    masks = pictures.targets[order] if faulty else pictures.targets
    return multiclass(EncoderDecoder(1, 5), Pictures(pictures.inputs, masks, pictures.test))


@fault("https://github.com/dbolya/yolact/issues/337 (each annotation is a sample)", "duplicate-samples", updates=100)
def a_sample_for_each_annotation(seed: int, faulty: bool) -> Given:
    """A picture comes once for each object in it, each time with the mask of that object alone."""
    pictures, model = shapes(seed, num=96).normalized(), UNet(1, 1)
    if faulty:
        kinds = [(pictures.targets == kind) for kind in range(1, 5)]
        numbers = torch.cat([kind.flatten(1).any(1).nonzero()[:, 0] for kind in kinds])
        masks = torch.cat([kind[kind.flatten(1).any(1)] for kind in kinds]).long()
        order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(seed))
        pictures = Pictures(pictures.inputs[numbers[order]], masks[order], pictures.test)
    return binary(model, pictures, None, adam(model, 2e-3))


@fault(
    "https://github.com/Project-MONAI/MONAI/issues/1092 (divided by a deviation of 0)", "input-nonfinite", updates=80
)
def black_slices_normalized_alone(seed: int, faulty: bool) -> Given:
    """Every slice is normalised by its own mean and deviation; some slices of a scan are black."""

    def scaled(inputs: Tensor) -> Tensor:
        mean, std = inputs.mean((1, 2, 3), True), inputs.std((1, 2, 3), keepdim=True)
        return (inputs - mean) / (std + (0 if faulty else 1e-3))

    pictures = cells(seed, num=96, size=32)
    inputs, masks = pictures.inputs.mean(1, True), pictures.targets.clone()
    inputs[40:44], masks[40:44] = 0, 0
    test = scaled(pictures.test[0].mean(1, True)), pictures.test[1]
    model = EncoderDecoder(1, 1)
    return binary(model, Pictures(scaled(inputs), masks, test), None, adam(model, 2e-3))


@fault("https://github.com/keras-team/keras/pull/22129 (float32 images cast to uint8)", "input-constant")
def floats_saved_as_bytes(seed: int, faulty: bool) -> Given:
    """Pictures in [0, 1] are cast to bytes without multiplying by 255."""

    def saved(inputs: Tensor) -> Tensor:
        stored = (inputs * (1 if faulty else 255)).to(torch.uint8)
        return (stored.float() / 255 - 0.4) / 0.2

    pictures = shapes(seed, num=128)
    test = saved(pictures.test[0]), pictures.test[1]
    return multiclass(PatchSegmenter(1, 5), Pictures(saved(pictures.inputs), pictures.targets, test))


@fault(
    "https://github.com/jonathanventura/canopy/issues/2 (images shifted by one pixel on both sides)",
    "train-val-leakage",
    harm="static",
)
def tiles_a_pixel_apart(seed: int, faulty: bool) -> Given:
    """Tiles are cut a pixel apart and dealt at random to training and validation. A score of training shows nothing."""
    pictures = cells(seed, num=96, size=33).normalized()
    near = [pictures.inputs[:, :, 1:, 1:], (pictures.targets[:, 1:, 1:] > 0).float()[:, None]]
    other = cells(seed + 50, num=96, size=32).normalized()
    val = batched(*near, 16)[:3] if faulty else batched(other.test[0], (other.test[1] > 0).float()[:, None], 16)
    test = pictures.test[0][:, :, :-1, :-1], pictures.test[1][:, :-1, :-1]
    first = Pictures(pictures.inputs[:, :, :-1, :-1], pictures.targets[:, :-1, :-1], test)
    return binary(EncoderDecoder(3, 1), first, val_batches=val)
