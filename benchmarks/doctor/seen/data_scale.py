"""Faults in how pictures become numbers."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from dataclasses import replace

import torch
from benchmarks.doctor.cases import Given, fault
from benchmarks.doctor.nets import ConvNet, PlainNet, UNet, classify, mlp, segment, sgd
from benchmarks.doctor.pictures import Pictures, cells, digits, photos
from torch import Tensor, nn

MEAN, STD = (torch.tensor(x).view(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


class BareUNet(UNet):
    """A U-Net of plain convolutions with ReLU."""

    class Block(nn.Sequential):
        """(convolution, ReLU) twice."""

        def __init__(self, in_channels: int, out_channels: int) -> None:
            super().__init__(
                *(nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU()),
                *(nn.Conv2d(out_channels, out_channels, 3, padding=1), nn.ReLU()),
            )

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes, block=self.Block)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)


def seen_as(pictures: Pictures, inputs: Tensor, test: Tensor) -> Pictures:
    """Return the same pictures with other numbers."""
    return replace(pictures, inputs=inputs, test=(test, pictures.test[1]))


@fault("common pattern: cv2.imread and torch.from_numpy(...).float(), never divided by 255", "input-unnormalized")
def pixels_0_255_plain_cnn(seed: int, faulty: bool) -> Given:
    pictures = photos(seed)
    shown = seen_as(pictures, pictures.inputs * 255, pictures.test[0] * 255) if faulty else pictures.normalized()
    model = PlainNet(3, 4, 32)
    return classify(model, shown, optimizer=sgd(model, 0.01))


@fault("common pattern: microscope pictures of 12 bits fed as they are", "input-unnormalized")
def twelve_bit_counts_into_unet(seed: int, faulty: bool) -> Given:
    pictures = cells(seed)
    shown = seen_as(pictures, pictures.inputs * 4095, pictures.test[0] * 4095) if faulty else pictures.normalized()
    model = BareUNet(3, 2)
    return segment(model, shown, optimizer=sgd(model, 0.02))


@fault(
    "https://github.com/SYSU-SAIL/SOF-VSR/issues/14 (/ 255 in the data set and again by ToTensor)",
    {"input-tiny-scale", "wrong-normalization-stats"},
    allowed={"input-unnormalized"},
)
def divided_by_255_twice(seed: int, faulty: bool) -> Given:
    pictures = photos(seed)
    shown = seen_as(pictures, pictures.inputs / 255, pictures.test[0] / 255) if faulty else pictures.normalized()
    model = PlainNet(3, 4, 32)
    return classify(model, shown, optimizer=sgd(model, 0.02))


@fault(
    "https://github.com/facebookresearch/InterHand2.6M/issues/110 (values between 0 and 1 / 255)",
    {"input-tiny-scale", "wrong-normalization-stats"},
    allowed={"input-unnormalized"},
)
def digits_scaled_away_mlp(seed: int, faulty: bool) -> Given:
    pictures = digits(seed)
    shown = seen_as(pictures, pictures.inputs / 255, pictures.test[0] / 255) if faulty else pictures
    model = mlp(256, 10)
    return classify(model, shown, optimizer=sgd(model, 0.1))


@fault(
    "https://github.com/batuhan3526/ResNet50_on_Cifar_100_Without_Transfer_Learning/issues/1 (mean and std / 255)",
    {"wrong-normalization-stats", "input-unnormalized"},
)
def statistics_divided_by_255(seed: int, faulty: bool) -> Given:
    pictures = photos(seed)
    by = 255 if faulty else 1
    images, test = ((one - MEAN / by) / (STD / by) for one in (pictures.inputs, pictures.test[0]))
    model = PlainNet(3, 4, 32)
    return classify(model, seen_as(pictures, images, test), optimizer=sgd(model, 0.01))


@fault(
    "https://github.com/Neerajj9/CSRNet-keras/issues/6 (ImageNet's mean and std on pixels of 0 to 255)",
    {"wrong-normalization-stats", "input-unnormalized"},
    updates=80,
)
def imagenet_statistics_on_0_255(seed: int, faulty: bool) -> Given:
    pictures = cells(seed)
    by = 1 if faulty else 255
    images, test = ((one * 255 / by - MEAN) / STD for one in (pictures.inputs, pictures.test[0]))
    return segment(BareUNet(3, 2), seen_as(pictures, images, test))


@fault(
    "https://github.com/choyingw/SynergyNet/issues/19 (Normalize(127.5, 128) behind ToTensor)",
    {"wrong-normalization-stats", "input-tiny-scale"},
    allowed={"input-constant", "input-unnormalized"},
)
def statistics_for_0_255_on_0_1(seed: int, faulty: bool) -> Given:
    pictures = photos(seed)
    by = 1 if faulty else 255
    images, test = ((one * by - 127.5) / 128 for one in (pictures.inputs, pictures.test[0]))
    model = PlainNet(3, 4, 32)
    return classify(model, seen_as(pictures, images, test), optimizer=sgd(model, 0.02))


@fault(
    "common pattern: resized by skimage to floats in [0, 1], then astype(np.uint8)",
    "input-constant",
    allowed={"input-tiny-scale", "duplicate-samples", "labels-uninformative", "wrong-normalization-stats"},
)
def floats_cast_to_bytes(seed: int, faulty: bool) -> Given:
    pictures = photos(seed)
    if faulty:
        images, test = ((one * 0.999).byte().float() / 255 for one in (pictures.inputs, pictures.test[0]))
    else:
        images, test = pictures.inputs * 2 - 1, pictures.test[0] * 2 - 1
    return classify(ConvNet(3, 4), seen_as(pictures, images, test))


@fault(
    "common pattern: try: read the file, except: return zeros; two thirds of the paths were wrong",
    {"input-constant", "duplicate-samples"},
    allowed={"input-constant", "duplicate-samples", "labels-uninformative"},
)
def unreadable_files_become_black(seed: int, faulty: bool) -> Given:
    pictures = photos(seed).normalized()
    blank = torch.rand(len(pictures.inputs), generator=torch.Generator().manual_seed(seed)) < (0.67 if faulty else 0)
    images = torch.where(blank.view(-1, 1, 1, 1), 0.0, pictures.inputs)
    model = ConvNet(3, 4)
    return classify(model, seen_as(pictures, images, pictures.test[0]), optimizer=sgd(model))


@fault("common pattern: each picture standardised by its own deviation, which is 0 for an empty one", "input-nonfinite")
def blank_pictures_standardised(seed: int, faulty: bool) -> Given:
    pictures = cells(seed)
    images = pictures.inputs.clone()
    images[5::32] = 0.0
    targets = pictures.targets.clone()
    targets[5::32] = 0
    least = 0.0 if faulty else 1e-3

    def standardised(one: Tensor) -> Tensor:
        return (one - one.mean((1, 2, 3), keepdim=True)) / one.std((1, 2, 3), keepdim=True).clamp_min(least)

    shown = Pictures(standardised(images), targets, (standardised(pictures.test[0]), pictures.test[1]))
    return segment(UNet(3, 2), shown)


@fault("common pattern: np.log of a picture that has zeros", "input-nonfinite")
def logarithm_of_zero(seed: int, faulty: bool) -> Given:
    pictures = digits(seed)
    offset = 0.0 if faulty else 0.1
    images, test = ((one + offset).log() for one in (pictures.inputs, pictures.test[0]))
    return classify(ConvNet(1, 10), seen_as(pictures, images, test))


def _scrambled(images: Tensor) -> Tensor:
    """Read N C H W as if its memory were N H W C."""
    return images.permute(0, 2, 3, 1).contiguous().view(images.shape)


@fault(
    "common pattern: np.array(image).reshape(3, height, width) where transpose(2, 0, 1) was meant",
    "input-layout",
    updates=150,
)
def hwc_reshaped_to_chw(seed: int, faulty: bool) -> Given:
    pictures = photos(seed).normalized()
    if faulty:
        pictures = seen_as(pictures, _scrambled(pictures.inputs), _scrambled(pictures.test[0]))
    model = ConvNet(3, 4)
    return classify(model, pictures, optimizer=sgd(model))


@fault(
    "https://github.com/zhouhaoyi/Informer2020/issues/59 (view where permute was meant), here of N H W C pictures",
    "input-layout",
    allowed={"mask-misaligned"},
)
def nhwc_viewed_as_nchw_for_masks(seed: int, faulty: bool) -> Given:
    pictures = cells(seed).normalized()
    if faulty:
        pictures = seen_as(pictures, _scrambled(pictures.inputs), _scrambled(pictures.test[0]))
    return segment(UNet(3, 2), pictures)
