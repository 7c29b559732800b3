"""Faults between the output, the loss and the targets."""

# N batch, C channels, H W pixels, K classes, D size of an embedding

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise

import timm
import torch
from benchmarks.doctor.cases import Batch, Given, evaluating, fault
from benchmarks.doctor.fresh.cls_makers import Samples, arrows, given, slopes, tags, vision_transformer
from benchmarks.doctor.libraries import precise
from benchmarks.doctor.nets import ConvNet, PlainNet, ResNet, adam, classify, mlp, sgd
from benchmarks.doctor.pictures import Pictures, digits
from benchmarks.doctor.scores import accuracy_in_batches, balanced_accuracy, fit, labels_right, outputs
from torch import Tensor, nn
from torch.nn import functional as F


def _first_right(model: nn.Module, test: Batch) -> float:
    """Return the share of right answers, of the first or only output."""
    return float((outputs(model, test[0]).argmax(1) == test[1]).float().mean())


@fault("dangweili/pedestrian-attribute-recognition-pytorch issue 16", "label-out-of-range", updates=80)
def attributes_of_minus_one(seed: int, faulty: bool) -> Given:
    """Attribute files say -1 for no and 1 for yes; binary cross-entropy takes them as they are."""
    data = tags(seed)
    if faulty:
        data = data._replace(targets=data.targets * 2 - 1)
    return replace(given(ConvNet(3, 4), data, nn.BCEWithLogitsLoss()), score=labels_right)


@fault(
    "common pattern: star ratings and grades from 1 to K", {"label-out-of-range", "head-size-mismatch"}, harm="raises"
)
def grades_from_one(seed: int, faulty: bool) -> Given:
    """Grades 1 to 10 go into cross-entropy with ten outputs, which counts from 0."""
    pictures = digits(seed).normalized()
    model = PlainNet(1, 10, 16)
    return classify(model, replace(pictures, targets=pictures.targets + int(faulty)))


@fault("deepset-ai/FARM issue 229; timeseriesAI/tsai issue 22", "target-shape-broadcast", updates=150)
def squeezed_against_column(seed: int, faulty: bool) -> Given:
    """The net squeezes its output to N, the table gives targets N 1: all pairs are compared."""
    data = slopes(seed)
    model = nn.Sequential(mlp(6, 1), nn.Flatten(0))
    if faulty:
        data = data._replace(targets=data.targets[:, None])
    return replace(given(model, data, nn.SmoothL1Loss()), score=fit)


@fault("nishnik/Deep-Semantic-Similarity-Model-PyTorch issue 2; runame/laplace-redux pull 1", "softmax-before-ce")
def softmax_in_the_head(seed: int, faulty: bool) -> Given:
    """A library's net gets a new head that ends in a softmax; the loss is cross-entropy."""
    model = timm.create_model("test_resnet", pretrained=False, in_chans=1, num_classes=10)
    if faulty:
        model.fc = nn.Sequential(model.get_classifier(), nn.Softmax(dim=1))
    pictures = digits(seed, size=32).normalized()
    return classify(model, pictures, optimizer=sgd(model, 0.02), score=precise(_first_right))


@fault("lopuhin/kaggle-imet-2019 issue 3; yudi-mars/daisyRec pull 15", "sigmoid-before-bce-logits", updates=80)
def sigmoid_in_the_forward(seed: int, faulty: bool) -> Given:
    """Several labels a picture: the net answers probabilities, the loss takes their sigmoid again."""
    model = nn.Sequential(ConvNet(3, 4), nn.Sigmoid() if faulty else nn.Identity())
    threshold = 0.5 if faulty else 0.0
    return replace(
        given(model, tags(seed, p=0.3), nn.BCEWithLogitsLoss()), score=partial(_tags_found, threshold=threshold)
    )


def _tags_found(model: nn.Module, test: Batch, threshold: float) -> float:
    """Return the mean of the shares that are right of the labels that are there and of those that are not."""
    found, there = outputs(model, test[0]) > threshold, test[1] > 0.5
    return float(found[there].float().mean() + (~found[~there]).float().mean()) / 2


class _Answers(nn.Module):
    """A net that answers a dictionary of logits and probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.net = PlainNet(1, 10, 16)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.net(x)
        return {"out": logits, "probs": logits.softmax(1), "log_probs": logits.log_softmax(1)}


def _nll_of(outs: dict[str, Tensor], targets: Tensor, name: str) -> Tensor:
    return F.nll_loss(outs[name], targets)


@fault(
    "AnubhavGupta3377/Text-Classification-Models-Pytorch issue 9; clvrai/ACGAN-PyTorch pull 4",
    "nll-without-logsoftmax",
    updates=50,
)
def nll_of_probabilities(seed: int, faulty: bool) -> Given:
    """The loss takes the probabilities of a dictionary of answers, and they have no logarithm."""
    name = "probs" if faulty else "log_probs"
    model = _Answers()
    pictures = digits(seed).normalized()
    return classify(model, pictures, partial(_nll_of, name=name), sgd(model, 0.01), score=_first_right)


@fault("hunkim/PyTorchZeroToAll pull 4; pytorch/tutorials pull 1654", "activation-on-logits", updates=150)
def relu_after_every_layer(seed: int, faulty: bool) -> Given:
    """A loop that builds the layers puts a ReLU behind the last one as well."""
    sizes = (256, 96, 48, 10)
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    model = nn.Sequential(*(layers if faulty else layers[:-1]))
    return classify(model, digits(seed).normalized(), optimizer=sgd(model, 0.02))


@fault("PetrochukM/PyTorch-NLP issue 2: softmax over dimension 0", "softmax-wrong-dim", allowed=["batch-mixing"])
def log_softmax_over_samples(seed: int, faulty: bool) -> Given:
    """`LogSoftmax(dim=0)`: samples compete for a class, and not classes for a sample."""
    pictures = digits(seed).normalized()
    model = nn.Sequential(ResNet(1, 10), nn.LogSoftmax(dim=0 if faulty else 1))
    return classify(model, pictures, nn.NLLLoss(), adam(model, 2e-3), score=accuracy_in_batches(1))


def _one_or_two(model: nn.Module, test: Batch) -> float:
    """Return the accuracy of two classes, of one output above 0 or of the larger of two."""
    found = outputs(model, test[0])
    decided = found[:, 0] > 0 if found.shape[1] == 1 else found.argmax(1) > 0
    return float((decided == test[1].bool()).float().mean())


@fault(
    "datascience.stackexchange question 37128: cross-entropy for a binary answer",
    {"loss-mismatch", "head-size-mismatch"},
    updates=80,
)
def cross_entropy_of_one_output(seed: int, faulty: bool) -> Given:
    """Two classes, one output, targets N 1 of 0 and 1: the softmax of one number is 1, the loss always 0."""
    pictures = digits(seed).normalized()
    even, test = (pictures.targets % 2).float()[:, None], (pictures.test[0], pictures.test[1] % 2)
    loss_fn = nn.CrossEntropyLoss() if faulty else nn.BCEWithLogitsLoss()
    data = Samples(pictures.inputs, even, test)
    return replace(given(ConvNet(1, 1), data, loss_fn), score=_one_or_two)


def _nearest_class(model: nn.Module, test: Batch) -> float:
    """Return the accuracy of rounded numbers, or of the largest of ten outputs."""
    found = outputs(model, test[0])
    decided = found[:, 0].round().long() if found.shape[1] == 1 else found.argmax(1)
    return float((decided == test[1]).float().mean())


def _squared_number(outs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outs[:, 0], targets.float())


@fault(
    "common pattern: MSELoss on class numbers, `outputs.squeeze()` and `labels.float()`", "loss-mismatch", updates=100
)
def class_numbers_as_values(seed: int, faulty: bool) -> Given:
    """The number of a class, which has no order, is fitted as a value."""
    model = ConvNet(1, 1 if faulty else 10)
    loss_fn = _squared_number if faulty else nn.CrossEntropyLoss()
    return classify(model, digits(seed).normalized(), loss_fn, adam(model, 3e-3), score=_nearest_class)


def _wrong_answers(outs: Tensor, targets: Tensor) -> Tensor:
    return F.mse_loss(outs.argmax(1).float(), targets.float()).requires_grad_()


@fault("common pattern: `loss.requires_grad = True` against `does not have a grad_fn`", "detached-graph")
def loss_of_decisions(seed: int, faulty: bool) -> Given:
    """The loss is taken of the largest output's number, and told to require a gradient when backward complains."""
    model = ConvNet(1, 10)
    loss_fn = _wrong_answers if faulty else nn.CrossEntropyLoss()
    return classify(model, digits(seed).normalized(), loss_fn, adam(model, 3e-3))


DIRECTIONS = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])


def _likeness(model: nn.Module, test: Batch) -> float:
    with evaluating(model):
        return float(F.cosine_similarity(model(test[0]), test[1]).mean())


@fault("ai4co/rl4co issue 283; Kim-Minseon/RoCL issue 3", "loss-sign", updates=150)
def cosine_is_minimized(seed: int, faulty: bool) -> Given:
    """The cosine similarity itself is the loss: answers turn away from their targets."""
    pictures = arrows(seed)
    data = Samples(pictures.inputs, DIRECTIONS[pictures.targets], (pictures.test[0], DIRECTIONS[pictures.test[1]]))

    def loss_fn(outs: Tensor, targets: Tensor) -> Tensor:
        found = F.cosine_similarity(outs, targets).mean()
        return found if faulty else 1 - found

    return replace(given(ConvNet(1, 2), data, loss_fn), score=_likeness)


@fault(
    "PRBonn/lidar-bonnetal issue 48: weights that grow with the number of samples", "class-weights-inverted", updates=80
)
def weights_grow_with_counts(seed: int, faulty: bool) -> Given:
    """`counts / counts.sum()` as weights of the loss, where its inverse was meant."""
    pictures = digits(seed, num=1300).normalized()
    keep = torch.cat([(pictures.targets == kind).nonzero()[: 120 if kind < 4 else 12, 0] for kind in range(10)])
    keep = keep[torch.randperm(len(keep))]
    inputs, labels = pictures.inputs[keep], pictures.targets[keep]
    share = labels.bincount(minlength=10) / len(labels)
    weight = share if faulty else 1 / share
    loss_fn = nn.CrossEntropyLoss(weight / weight.mean())
    model = PlainNet(1, 10, 16)
    return classify(model, Pictures(inputs, labels, pictures.test), loss_fn, adam(model, 1e-3), score=balanced_accuracy)


@fault("timm: `create_model(name)` answers 1000 classes unless told", "head-size-mismatch", updates=120)
def thousand_outputs(seed: int, faulty: bool) -> Given:
    """`num_classes` was forgotten; 990 outputs of the head are never a target, and first have to be unlearnt."""
    model = vision_transformer(1000 if faulty else 10)
    return classify(model, digits(seed).normalized(), optimizer=adam(model, 2e-3))
