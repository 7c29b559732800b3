"""Nets of other tasks than classes, or beside them, that look unusual and are as they should be."""

# N batch, C channels, H W pixels, D features

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from benchmarks.doctor.cases import Batch, Given, LossFn, Score, accuracy, batched, evaluating, sound
from benchmarks.doctor.unseen.nets import body, classifier
from benchmarks.doctor.unseen.pictures import digits, explained, normalized
from torch import Tensor, nn


def _digits(seed: int, model: nn.Module, loss: LossFn, score: Score) -> Given:
    """Learn something of digits and their labels."""
    (images, labels), (test, truth) = digits(seed), digits(seed, held_out=True)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    return Given(model, batched(normalized(images), labels), loss, adam, test=(normalized(test), truth), score=score)


class TiedAutoencoder(nn.Module):
    """An autoencoder whose decoder is the transpose of its encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(48, 256))
        self.code_bias, self.picture_bias = nn.Parameter(torch.zeros(48)), nn.Parameter(torch.zeros(256))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Return pictures N 256."""
        code = torch.tanh(F.linear(images.flatten(1), self.weight, self.code_bias))
        return F.linear(code, self.weight.t(), self.picture_bias)


@sound("https://github.com/cmgreen210/TensorFlowDeepAutoencoder/issues/7", score=0.4)
def decoder_tied_to_encoder(seed: int) -> Given:
    """Encoder and decoder share their weights, as the paper wants."""
    model = TiedAutoencoder()
    images, test = (normalized(digits(seed, held_out=part)[0]) for part in (False, True))
    adam = torch.optim.Adam(model.parameters(), lr=2e-3)
    held_out = test, test.flatten(1)
    return Given(model, batched(images, images.flatten(1)), nn.MSELoss(), adam, test=held_out, score=explained)


class Online(nn.Module):
    """An autoencoder with a classifier that watches its code and does not change it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 48))
        self.decoder = nn.Sequential(nn.ReLU(), nn.Linear(48, 256))
        self.watcher = nn.Linear(48, 10)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits, and the squared error of each picture."""
        code = self.encoder(images)
        return self.watcher(code.detach()), (self.decoder(code) - images.flatten(1)).square().mean(1)


def _online_accuracy(model: nn.Module, test: Batch) -> float:
    with evaluating(model):
        return float((model(test[0])[0].argmax(1) == test[1]).float().mean())


@sound("https://github.com/vturrisi/solo-learn/issues/135")
def classifier_that_watches(seed: int) -> Given:
    """Features are detached for an online classifier; another loss trains the encoder."""

    def loss(outputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs[0], labels) + outputs[1].mean()

    return _digits(seed, Online(), loss, score=_online_accuracy)


class MeanTeacher(nn.Module):
    """A student, and a teacher that is its running mean: copied from it, never trained, in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.student = classifier(1, 10)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> MeanTeacher:
        """Set the mode of the student only."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits N 10 in eval mode, and with those of the teacher, N 20, in training."""
        logits = self.student(images)
        if not self.training:
            return logits
        with torch.no_grad():
            taught = self.teacher(images)
        return torch.cat([logits, taught], 1)


@sound("https://github.com/lhoyer/DAFormer/issues/59", allowed=["frozen-layers"])
def teacher_without_gradient(seed: int) -> Given:
    """A loss of labels, and a small one of agreement with the teacher, which gets no gradient on purpose."""
    model = MeanTeacher()

    def loss(both: Tensor, labels: Tensor) -> Tensor:
        logits, taught = both.chunk(2, 1)
        return F.cross_entropy(logits, labels) + 0.1 * F.mse_loss(logits.softmax(1), taught.softmax(1))

    adam = torch.optim.Adam(model.student.parameters(), lr=3e-3)
    return replace(_digits(seed, model, loss, accuracy), optimizer=adam)


def _contrast(features: Tensor, labels: Tensor) -> Tensor:
    """Return the supervised contrastive loss of normalised features N D, temperature 0.2."""
    alone = torch.eye(len(labels), dtype=torch.bool)
    near = (features @ features.T / 0.2).masked_fill(alone, -math.inf).log_softmax(1)
    friends = (labels[:, None] == labels) & ~alone
    return -(near.masked_fill(~friends, 0).sum(1) / friends.sum(1).clamp(min=1)).mean()


def _neighbours(model: nn.Module, test: Batch, known: Batch) -> float:
    """Return the accuracy of the label of the nearest known picture."""
    with evaluating(model):
        near = model(test[0]) @ model(known[0]).T
    return float((known[1][near.argmax(1)] == test[1]).float().mean())


@sound("https://github.com/KevinMusgrave/pytorch-metric-learning, SupConLoss", allowed=["bad-initial-loss"])
def metric_learning(seed: int) -> Given:
    """The loss compares samples of a batch; outputs are no scores of classes."""

    class Normalized(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return F.normalize(features)

    model = nn.Sequential(body(1), nn.Linear(32, 16), Normalized())
    images, labels = digits(seed)
    return _digits(seed, model, _contrast, score=partial(_neighbours, known=(normalized(images), labels)))


@sound("https://github.com/SeungjunNah/DeepDeblur_release/issues/4, no activation behind a regression", score=0.3)
def regression_in_its_own_units(seed: int) -> Given:
    """How much ink a digit has, standardised, with the Huber loss."""

    def ink(images: Tensor) -> Tensor:
        return (images.mean((1, 2, 3)).unsqueeze(1) - 0.3) / 0.05

    images, test = (digits(seed, held_out=part)[0] for part in (False, True))
    model = classifier(1, 1)
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    held_out = test - 0.3, ink(test)
    return Given(model, batched(images - 0.3, ink(images)), nn.SmoothL1Loss(), adam, test=held_out, score=explained)
