"""Faults in the targets: their numbers, their shape, their pairing with the pictures."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from dataclasses import replace

import torch
from benchmarks.doctor.cases import Given, batched, fault
from benchmarks.doctor.nets import ConvNet, PlainNet, ResNet, UNet, adam, classify, mlp, segment, sgd
from benchmarks.doctor.pictures import Pictures, cells, digits, photos, shapes
from benchmarks.doctor.scores import fit, iou_above
from torch import Tensor, nn
from torch.nn import functional as F


def with_targets(pictures: Pictures, targets: Tensor) -> Pictures:
    """Return the same pictures with other targets to learn from; those of the test pictures stay true."""
    return replace(pictures, targets=targets)


def binary(pictures: Pictures, scale: float = 1.0) -> Pictures:
    """Return masks as floats N 1 H W."""
    return with_targets(pictures, pictures.targets[:, None].float() * scale)


@fault(
    "https://github.com/pytorch/pytorch/issues/15666 (labels 1..10 for ten outputs)",
    "label-out-of-range",
    allowed={"head-size-mismatch"},
    harm="raises",
)
def labels_from_one(seed: int, faulty: bool) -> Given:
    pictures = digits(seed)
    return classify(ConvNet(1, 10), with_targets(pictures, pictures.targets + int(faulty)))


@fault("https://github.com/milesial/Pytorch-UNet/issues/84 (negative loss: masks of 0 and 255)", "label-out-of-range")
def masks_of_0_and_255_with_bce(seed: int, faulty: bool) -> Given:
    pictures = binary(cells(seed).normalized(), 255.0 if faulty else 1.0)
    return segment(UNet(3, 1), pictures, nn.BCEWithLogitsLoss(), score=iou_above(0.0))


@fault(
    "https://github.com/milesial/Pytorch-UNet/issues/341 (class 255 for a net of two classes)",
    "label-out-of-range",
    allowed={"head-size-mismatch"},
    harm="raises",
)
def masks_of_0_and_255_with_two_classes(seed: int, faulty: bool) -> Given:
    pictures = cells(seed).normalized()
    return segment(UNet(3, 2), with_targets(pictures, pictures.targets * (255 if faulty else 1)))


@fault(
    "https://github.com/milesial/Pytorch-UNet/issues/228 (class indices divided by 255, then cast: all 0)",
    {"labels-uninformative", "class-imbalance", "label-out-of-range", "head-size-mismatch"},
    allowed={"labels-uninformative", "class-imbalance", "head-size-mismatch", "label-out-of-range"},
)
def class_masks_divided_by_255(seed: int, faulty: bool) -> Given:
    pictures = shapes(seed).normalized()
    targets = (pictures.targets / 255).long() if faulty else pictures.targets
    return segment(UNet(1, 5), with_targets(pictures, targets))


class CentreNet(PlainNet):
    """One number for a picture."""

    def __init__(self) -> None:
        super().__init__(1, 1, 16)


def _centres(images: Tensor) -> Tensor:
    """Return where the ink's centre of mass lies from left to right, in deviations."""
    weights = images.sum((1, 2))
    places = (weights * torch.arange(images.shape[-1])).sum(1) / weights.sum(1)
    return (places - 7.5) / 0.6


def _squared_error(found: Tensor, targets: Tensor) -> Tensor:
    return ((found - targets) ** 2).mean()


@fault(
    "https://github.com/pytorch/pytorch/issues/16045 (outputs N 1, targets N)", "target-shape-broadcast", updates=100
)
def squared_error_broadcast(seed: int, faulty: bool) -> Given:
    pictures = digits(seed)
    found = _centres(pictures.inputs)
    shown = Pictures(
        pictures.inputs, found if faulty else found[:, None], (pictures.test[0], _centres(pictures.test[0]))
    )
    return classify(CentreNet(), shown, _squared_error, score=fit)


def _soft_dice(logits: Tensor, masks: Tensor) -> Tensor:
    probs = logits.sigmoid()
    return 1 - (2 * (probs * masks).sum() + 1) / (probs.sum() + masks.sum() + 1)


@fault(
    "https://github.com/jiwei0921/CoNet/issues/3 (outputs N 1 H W, targets N H W), here with a Dice loss of one's own",
    "target-shape-broadcast",
    allowed={"labels-uninformative"},
)
def dice_broadcast_over_the_batch(seed: int, faulty: bool) -> Given:
    pictures = cells(seed).normalized()
    shown = with_targets(pictures, pictures.targets.float()) if faulty else binary(pictures)
    return segment(UNet(3, 1), shown, _soft_dice, score=iou_above(0.0))


@fault(
    "https://github.com/milesial/Pytorch-UNet/issues/320 (one output and cross-entropy: the loss is always 0)",
    {"loss-mismatch", "head-size-mismatch"},
    allowed={"loss-mismatch", "head-size-mismatch", "unused-params"},
)
def cross_entropy_of_one_output(seed: int, faulty: bool) -> Given:
    pictures = binary(cells(seed).normalized())
    loss = nn.CrossEntropyLoss() if faulty else nn.BCEWithLogitsLoss()
    return segment(UNet(3, 1), pictures, loss, score=iou_above(0.0))


def _shuffled(targets: Tensor, seed: int) -> Tensor:
    return targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))]


@fault("common pattern: pictures from an unsorted os.listdir, labels in the order of the CSV", "labels-uninformative")
def labels_in_another_order(seed: int, faulty: bool) -> Given:
    pictures = digits(seed)
    targets = _shuffled(pictures.targets, seed) if faulty else pictures.targets
    return classify(ConvNet(1, 10), with_targets(pictures, targets))


@fault(
    "common pattern: the CSV's header was taken for a row, so that each picture has its neighbour's label",
    "labels-uninformative",
    updates=120,
)
def labels_off_by_one_row(seed: int, faulty: bool) -> Given:
    pictures = digits(seed)
    targets = pictures.targets.roll(1) if faulty else pictures.targets
    return classify(mlp(256, 10), with_targets(pictures, targets))


@fault(
    "common pattern: sorted(images) and sorted(masks) differ, as img_10 comes before img_2",
    "labels-uninformative",
    allowed={"mask-misaligned"},
)
def masks_of_other_pictures(seed: int, faulty: bool) -> Given:
    pictures = cells(seed).normalized()
    return segment(UNet(3, 2), with_targets(pictures, _shuffled(pictures.targets, seed)) if faulty else pictures)


@fault(
    "common pattern: __getitem__ reads self.files[0] instead of self.files[index]",
    "duplicate-samples",
    allowed={"labels-uninformative", "input-constant"},
)
def one_picture_for_every_label(seed: int, faulty: bool) -> Given:
    pictures = digits(seed)
    inputs = pictures.inputs[:1].expand_as(pictures.inputs).clone() if faulty else pictures.inputs
    return classify(ConvNet(1, 10), replace(pictures, inputs=inputs))


@fault(
    "https://github.com/zalandoresearch/fashion-mnist/issues/44 (duplicates), here after oversampling without end",
    "duplicate-samples",
    updates=100,
)
def few_pictures_many_times(seed: int, faulty: bool) -> Given:
    pictures = photos(seed).normalized()
    if faulty:
        chosen = torch.arange(len(pictures.inputs)) % 20
        pictures = replace(pictures, inputs=pictures.inputs[chosen], targets=pictures.targets[chosen])
    model = ConvNet(3, 4)
    return classify(model, pictures, optimizer=sgd(model))


@fault(
    "https://github.com/Deci-AI/super-gradients/issues/416 (shuffle=False: a batch sees a single class)",
    "unshuffled-batches",
    updates=80,
)
def batches_sorted_by_class(seed: int, faulty: bool) -> Given:
    pictures = photos(seed).normalized()
    order = pictures.targets.argsort(stable=True) if faulty else torch.arange(len(pictures.targets))
    model = ResNet(3, 4)
    sorted_ones = replace(pictures, inputs=pictures.inputs[order], targets=pictures.targets[order])
    return classify(model, sorted_ones, optimizer=sgd(model))


@fault("https://github.com/pytorch/vision/issues/7818 (files in the order of their classes)", "unshuffled-batches")
def digits_in_the_order_of_folders(seed: int, faulty: bool) -> Given:
    pictures = digits(seed)
    order = pictures.targets.argsort(stable=True) if faulty else torch.arange(len(pictures.targets))
    model = PlainNet(1, 10, 16)
    sorted_ones = replace(pictures, inputs=pictures.inputs[order], targets=pictures.targets[order])
    return classify(model, sorted_ones, optimizer=sgd(model))


@fault(
    "common pattern: BCELoss on raw outputs of the last linear layer",
    {"loss-mismatch", "label-out-of-range"},
    harm="raises",
)
def bce_without_a_sigmoid(seed: int, faulty: bool) -> Given:
    pictures = digits(seed)
    one_hot = with_targets(pictures, F.one_hot(pictures.targets, 10).float())
    return classify(ConvNet(1, 10), one_hot, nn.BCELoss() if faulty else nn.BCEWithLogitsLoss())


class AsNumber(nn.Module):
    """A net whose single output is read as the number of a class."""

    def __init__(self) -> None:
        super().__init__()
        self.net = ConvNet(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(1)


def _nearest(model: nn.Module, test: tuple[Tensor, Tensor]) -> float:
    training = model.training
    with torch.no_grad():
        right = model.eval()(test[0]).round() == test[1]
    model.train(training)
    return float(right.float().mean())


@fault("common pattern: class indices as targets of a regression with MSELoss", "loss-mismatch", updates=100)
def class_indices_by_squared_error(seed: int, faulty: bool) -> Given:
    pictures = digits(seed)
    if not faulty:
        return classify(ConvNet(1, 10), pictures)
    model = AsNumber()
    return Given(
        model,
        batched(pictures.inputs, pictures.targets.float()),
        nn.MSELoss(),
        adam(model),
        test=pictures.test,
        score=_nearest,
    )
