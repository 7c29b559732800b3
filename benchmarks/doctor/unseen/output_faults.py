"""Faults between the last layer and the loss."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from benchmarks.doctor.cases import Given, LossFn, batched, fault
from benchmarks.doctor.scores import accuracy_in_batches
from benchmarks.doctor.unseen.nets import Unet, classifier
from benchmarks.doctor.unseen.pictures import (
    digits,
    explained,
    foreground,
    mean_overlap,
    normalized,
    overlap,
    recall,
    scenes,
)
from torch import Tensor, nn


def _digits(seed: int, model: nn.Module, loss: LossFn) -> Given:
    """Read digits."""
    (images, labels), (test, truth) = digits(seed), digits(seed, held_out=True)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Given(model, batched(normalized(images), labels), loss, adam, test=(normalized(test), truth))


def _discs(seed: int, model: nn.Module, loss: LossFn, threshold: float = 0.0) -> Given:
    """Find discs with one output channel."""
    (images, masks), (test, truth) = scenes(seed), scenes(seed, held_out=True)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    batches, held_out = batched(normalized(images), foreground(masks), 8), (normalized(test), foreground(truth))
    return Given(model, batches, loss, adam, test=held_out, score=partial(overlap, threshold=threshold))


def _kinds(seed: int, model: nn.Module, loss: LossFn) -> Given:
    """Find discs of two kinds with an output channel for each class."""
    (images, masks), (test, truth) = scenes(seed, kinds=2), scenes(seed, kinds=2, held_out=True)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    batches, held_out = batched(normalized(images), masks, 8), (normalized(test), truth)
    return Given(model, batches, loss, adam, test=held_out, score=mean_overlap)


class Then(nn.Module):
    """A net, and what its `forward` does with the result."""

    def __init__(self, net: nn.Module, last: LossFn | partial[Tensor] | None) -> None:
        super().__init__()
        self.net, self.last = net, last

    def forward(self, images: Tensor) -> Tensor:
        """Return the net's output after the last function."""
        outputs = self.net(images)
        return outputs if self.last is None else self.last(outputs)  # type: ignore[call-arg]


@fault("https://github.com/Lightning-Universe/lightning-bolts/issues/654", "softmax-before-ce")
def softmax_in_forward(seed: int, broken: bool) -> Given:
    """`forward` ends in a softmax, the loss takes the log-softmax of it."""
    model = Then(classifier(1, 10), partial(F.softmax, dim=-1) if broken else None)
    return _digits(seed, model, F.cross_entropy)


@fault("https://github.com/avBuffer/UNet3plus_pth/issues/23", "sigmoid-before-bce-logits")
def sigmoid_in_the_net(seed: int, broken: bool) -> Given:
    """A U-Net returns probabilities, and the training script has chosen the loss for logits."""
    model = Then(Unet(), torch.sigmoid if broken else None)
    return _discs(seed, model, nn.BCEWithLogitsLoss(), 0.5 if broken else 0.0)


class FocalLoss(nn.Module):
    """Binary focal loss; with `squashed`, the cross-entropy for logits is taken of probabilities."""

    def __init__(self, squashed: bool) -> None:
        super().__init__()
        self.squashed = squashed

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over pixels."""
        probs = torch.sigmoid(logits)
        scores = probs if self.squashed else logits
        likely = torch.where(targets > 0.5, probs, 1 - probs)
        return ((1 - likely) ** 2 * F.binary_cross_entropy_with_logits(scores, targets, reduction="none")).mean()


@fault("https://github.com/itakurah/focal-loss-pytorch/pull/5", "sigmoid-before-bce-logits")
def sigmoid_in_the_loss(seed: int, broken: bool) -> Given:
    """The net returns logits as it should; the loss squashes them before the loss for logits."""
    return _discs(seed, Unet(), FocalLoss(squashed=broken))


@fault(
    "https://github.com/USTC-Video-Understanding/I3D_Finetune/issues/2", "activation-on-logits", allowed=["dead-relu"]
)
def relu_on_the_scores(seed: int, broken: bool) -> Given:
    """The last layer is made by the same function as all others, with its ReLU."""
    model = Then(classifier(1, 10), F.relu if broken else None)
    return _digits(seed, model, F.cross_entropy)


def _head(sizes: list[int], last: int) -> nn.Sequential:
    """Return linear layers with a ReLU behind those before the one that is told to be the last."""
    layers: list[nn.Module] = []
    for place, (from_size, to_size) in enumerate(pairwise(sizes)):
        layers += [nn.Linear(from_size, to_size)] + ([nn.ReLU()] if place < last else [])
    return nn.Sequential(*layers)


@fault("https://github.com/lucidrains/tab-transformer-pytorch/issues/9", "activation-on-logits", allowed=["dead-relu"])
def last_layer_off_by_one(seed: int, broken: bool) -> Given:
    """A builder counts sizes for layers, so that the last layer gets an activation too: no score is below zero."""
    sizes = [256, 64, 32, 1]
    model = nn.Sequential(nn.Flatten(), _head(sizes, last=len(sizes) - (1 if broken else 2)))
    given = _digits(seed, model, nn.BCEWithLogitsLoss())
    assert given.test is not None
    images, numbers = given.test
    batches = [(inputs, (labels % 2).float().unsqueeze(1)) for inputs, labels in given.batches]
    return replace(given, batches=batches, test=(images, (numbers % 2).float().unsqueeze(1)), score=overlap)


@fault("https://github.com/AnubhavGupta3377/Text-Classification-Models-Pytorch/issues/9", "nll-without-logsoftmax")
def softmax_into_nll(seed: int, broken: bool) -> Given:
    """Probabilities, not their logarithms, go into NLLLoss: the loss is negative."""
    model = Then(classifier(1, 10), partial(F.softmax if broken else F.log_softmax, dim=1))
    return _digits(seed, model, nn.NLLLoss())


@fault(
    "https://github.com/fxia22/pointnet.pytorch/issues/27", "softmax-wrong-dim", allowed=["batch-mixing"], updates=80
)
def log_softmax_along_the_batch(seed: int, broken: bool) -> Given:
    """Log-softmax over dimension 0, which is the batch: of a picture that comes alone all scores are equal."""
    model = Then(classifier(1, 10), partial(F.log_softmax, dim=0 if broken else 1))
    return replace(_digits(seed, model, F.nll_loss), score=accuracy_in_batches(1))


@fault("https://github.com/MrGiovanni/ModelsGenesis/pull/8", "softmax-wrong-dim")
def softmax_over_the_width(seed: int, broken: bool) -> Given:
    """Softmax over the last dimension, with channels first: the columns of a picture share one probability."""
    model = Then(Unet(3), partial(F.log_softmax, dim=-1 if broken else 1))
    return _kinds(seed, model, nn.NLLLoss())


@fault(
    "https://github.com/irfanICMLL/structure_knowledge_distillation/issues/11",
    ("softmax-wrong-dim", "loss-mismatch", "mask-misaligned"),
)
def view_without_permute(seed: int, broken: bool) -> Given:
    """Logits N K H W are viewed as rows of K values, which are neighbours of one channel."""

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        rows = logits.contiguous() if broken else logits.permute(0, 2, 3, 1).contiguous()
        return F.cross_entropy(rows.view(-1, 3), masks.view(-1))

    return _kinds(seed, Unet(3), loss)


@fault("https://github.com/yunlongdong/FCN-pytorch/issues/7", "loss-mismatch", harm="raises")
def scores_into_bce(seed: int, broken: bool) -> Given:
    """BCELoss of a net without a sigmoid: the loss refuses values outside 0..1."""
    return _discs(seed, Then(Unet(), None if broken else torch.sigmoid), nn.BCELoss(), 0.5)


@fault("https://github.com/milesial/Pytorch-UNet/issues/133", ("head-size-mismatch", "loss-mismatch"))
def one_channel_into_cross_entropy(seed: int, broken: bool) -> Given:
    """Cross-entropy over a single channel, with float masks: the loss is 0 from the start."""
    return _discs(seed, Unet(), nn.CrossEntropyLoss() if broken else nn.BCEWithLogitsLoss())


@fault("https://github.com/sktime/sktime/issues/10931", "target-shape-broadcast")
def column_against_row(seed: int, broken: bool) -> Given:
    """Outputs N 1 and targets N broadcast to N N in a squared error: the net learns the mean."""
    model = classifier(1, 1)
    given = _digits(seed, model, partial(_squared_error, flat=not broken))
    assert given.test is not None
    batches = [(images, _ink(images)) for images, _ in given.batches]
    test = given.test[0], _ink(given.test[0])
    return replace(given, batches=batches, test=test, score=explained)


def _ink(images: Tensor) -> Tensor:
    """Return how far to the right the ink of a digit lies, with about zero mean and unit scale."""
    ink = images - images.amin((1, 2, 3), keepdim=True)
    columns = torch.linspace(-1, 1, images.shape[-1])
    return 8 * (ink * columns).sum((1, 2, 3)) / ink.sum((1, 2, 3))


def _squared_error(outputs: Tensor, targets: Tensor, flat: bool) -> Tensor:
    return ((outputs.flatten() if flat else outputs) - targets).square().mean()


def _dice(parts: Tensor, masks: Tensor) -> Tensor:
    """Return the mean over pictures of the Dice score."""
    axes = (1, 2, 3)
    return ((2 * (parts * masks).sum(axes) + 1) / (parts.sum(axes) + masks.sum(axes) + 1)).mean()


@fault("https://github.com/jakeret/tf_unet/issues/15", "dice-on-logits", allowed=["loss-not-finite"])
def dice_of_logits(seed: int, broken: bool) -> Given:
    """The overlap is computed of raw logits."""

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        return 1 - _dice(logits if broken else torch.sigmoid(logits), masks)

    return _discs(seed, Unet(), loss)


@fault(
    "https://github.com/IAmSuyogJadhav/3d-mri-brain-tumor-segmentation-using-autoencoder-regularization/issues/7",
    "loss-sign",
)
def dice_score_minimized(seed: int, broken: bool) -> Given:
    """The Dice score itself is called the loss."""

    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        score = _dice(torch.sigmoid(logits), masks)
        return score if broken else 1 - score

    return _discs(seed, Unet(), loss)


@fault("https://github.com/PRBonn/lidar-bonnetal/issues/48", "class-weights-inverted", allowed=["class-imbalance"])
def weights_from_log_frequency(seed: int, broken: bool) -> Given:
    """Weights 1 / log(1 / share) as in the paper: they grow with the share."""
    images, labels = _uneven(seed, 960)
    test, truth = _uneven(seed, 480, held_out=True)
    shares = labels.bincount() / len(labels)
    weights = 1 / torch.log(1 / shares + 1e-3) if broken else 1 / shares
    model = classifier(1, 3)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches, held_out = batched(normalized(images), labels, 64), (normalized(test), truth)
    return Given(model, batches, nn.CrossEntropyLoss(weights / weights.sum()), adam, test=held_out, score=recall)


def _uneven(seed: int, count: int, *, held_out: bool = False) -> tuple[Tensor, Tensor]:
    """Draw digits 3, 5 and 8 in shares of about 84, 8 and 8 percent."""
    images, labels = digits(seed, count, classes=(3, 5, 8), held_out=held_out)
    kept = (labels == 0) | (torch.arange(len(labels)) % 10 == 0)
    return images[kept], labels[kept]


@fault("https://github.com/wkentaro/pytorch-fcn/issues/17", ("loss-reduction-sum", "lr-too-high"))
def summed_over_pixels(seed: int, broken: bool) -> Given:
    """The loss is summed over pixels, at a rate that fits a mean."""
    model = Unet(3, norm=False)
    given = _kinds(seed, model, nn.CrossEntropyLoss(reduction="sum" if broken else "mean"))
    sgd = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    return replace(given, optimizer=sgd)


@fault("https://github.com/fastai/fastbook/pull/254", "head-size-mismatch")
def thousand_outputs(seed: int, broken: bool) -> Given:
    """A net for ImageNet is trained on ten classes with its thousand outputs."""
    model = classifier(1, 1000 if broken else 10)
    return _digits(seed, model, F.cross_entropy)
