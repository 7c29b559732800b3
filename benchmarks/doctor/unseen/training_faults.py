"""Faults of the optimizer, of its rates, and of modes."""

# N batch, C channels, H W pixels

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cache

import torch
import torch.nn.functional as F
from benchmarks.doctor.cases import Given, batched, fault
from benchmarks.doctor.unseen.nets import Unet, body, classifier
from benchmarks.doctor.unseen.pictures import digits, foreground, normalized, overlap, scenes, single, textures
from torch import Tensor, nn


def _digits(seed: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> Given:
    """Read digits."""
    (images, labels), (test, truth) = digits(seed), digits(seed, held_out=True)
    batches, held_out = batched(normalized(images), labels), (normalized(test), truth)
    return Given(model, batches, F.cross_entropy, optimizer, test=held_out)


def _textures(seed: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> Given:
    """Tell textures apart whose colours and contrasts are the same."""
    (images, labels), (test, truth) = textures(seed), textures(seed, held_out=True)
    return Given(model, batched(single(images), labels), F.cross_entropy, optimizer, test=(single(test), truth))


def _discs(seed: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> Given:
    """Find discs with one output channel."""
    (images, masks), (test, truth) = scenes(seed), scenes(seed, held_out=True)
    batches, held_out = batched(normalized(images), foreground(masks), 8), (normalized(test), foreground(truth))
    return Given(model, batches, nn.BCEWithLogitsLoss(), optimizer, test=held_out, score=overlap)


@fault("https://github.com/microsoft/nni/issues/4521", ("optimizer-stale-params", "optimizer-missing-params"))
def layers_replaced_after_the_optimizer(seed: int, broken: bool) -> Given:
    """A speed-up replaces layers by smaller ones when the optimizer is there already."""
    model = classifier(3, 4, 32)
    before = torch.optim.Adam(model.parameters(), lr=3e-3)
    model[0], model[1] = body(3, 16), nn.Linear(32, 4)
    return _textures(seed, model, before if broken else torch.optim.Adam(model.parameters(), lr=3e-3))


@fault("https://github.com/skorch-dev/skorch/issues/317", ("optimizer-stale-params", "optimizer-missing-params"))
def copy_with_the_old_optimizer(seed: int, broken: bool) -> Given:
    """The model is copied for another run, the optimizer still holds the weights of the first."""
    first = classifier(1, 10)
    adam, model = torch.optim.Adam(first.parameters(), lr=3e-3), copy.deepcopy(first)
    return _digits(seed, model, adam if broken else torch.optim.Adam(model.parameters(), lr=3e-3))


class Tracker(nn.Module):
    """Backbone, a layer that brings features down, and a head, as the training script names them."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.down, self.head = body(3, 8), nn.Linear(16, 64), nn.Linear(64, 4)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.head(F.relu(self.down(self.backbone(images))))


@fault("https://github.com/ohhhyeahhh/SiamCAR/issues/18", "optimizer-missing-params")
def layer_left_out_of_the_groups(seed: int, broken: bool) -> Given:
    """Backbone and head have a group of parameters each, the layer between them has none."""
    model = Tracker()
    groups = [{"params": model.backbone.parameters(), "lr": 1e-3}, {"params": model.head.parameters(), "lr": 3e-3}]
    if not broken:
        groups.append({"params": model.down.parameters(), "lr": 3e-3})
    return _textures(seed, model, torch.optim.Adam(groups))


@fault("https://github.com/cabralpinto/modular-diffusion/issues/17", "optimizer-missing-params")
def only_one_half_is_trained(seed: int, broken: bool) -> Given:
    """The optimizer gets the parameters of the decoder only; the encoder keeps its random weights."""
    model = Unet()
    decoder = [*model.up_second.parameters(), *model.up_first.parameters(), *model.head.parameters()]
    return _discs(seed, model, torch.optim.SGD(decoder if broken else model.parameters(), lr=0.05, momentum=0.9))


@fault("https://github.com/pytorch/vision/pull/1998", "lr-too-high", allowed=["dead-relu"])
def rate_for_nets_with_batch_norm(seed: int, broken: bool) -> Given:
    """The default rate 0.1 is for nets with batch norm; this one has none."""
    model = classifier(3, 4, 32, norm=False)
    return _textures(seed, model, torch.optim.SGD(model.parameters(), lr=0.3 if broken else 0.01, momentum=0.9))


@fault("https://github.com/aurora95/Keras-FCN/issues/60", "lr-too-low")
def rate_of_a_summed_loss(seed: int, broken: bool) -> Given:
    """The rate 1e-10 comes from a solver whose loss is a sum over pixels, this loss is a mean."""
    model = Unet()
    return _discs(seed, model, torch.optim.SGD(model.parameters(), lr=1e-10 if broken else 0.05, momentum=0.9))


@fault("https://github.com/jaehyunnn/ViTPose_pytorch/issues/20", "lr-too-low")
def decay_at_every_step(seed: int, broken: bool) -> Given:
    """The decay meant for layers is applied again at every step: after forty the rate is 1e-8."""
    model = classifier(1, 10)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 0.75**step if broken else max(0.01, 1 - step / 200))
    return replace(_digits(seed, model, adam), schedule=schedule)


@fault("https://github.com/jhoffman/cycada_release/issues/24", ("momentum-too-high", "lr-too-high"))
def momentum_of_ninety_nine(seed: int, broken: bool) -> Given:
    """Momentum 0.99 with the rate for 0.9: steps ten times as long, until the loss is not a number."""
    model = Unet(norm=False)
    return _discs(seed, model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.99 if broken else 0.9))


@fault("https://github.com/tinghuiz/SfMLearner/issues/34", "weight-decay-too-high")
def decay_that_was_never_applied(seed: int, broken: bool) -> Given:
    """Weight decay 0.05, which the original code never applied: copied into one that does, nets go to zero."""
    model = classifier(3, 4, norm=False)
    decay = 0.5 if broken else 5e-4
    return _textures(seed, model, torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, weight_decay=decay))


@fault("https://github.com/wkentaro/pytorch-fcn/issues/57", "eval-mode-training", harm="static")
def validation_left_it_in_eval(seed: int, broken: bool) -> Given:
    """A validation within the epoch leaves the net in eval mode; how much that costs depends on when it happens."""
    model = nn.Sequential(body(3), nn.Dropout(0.3), nn.Linear(32, 4))
    model.train(not broken)
    return _textures(seed, model, torch.optim.Adam(model.parameters(), lr=3e-3))


@fault("https://github.com/pytorch/vision/issues/2164", "frozen-layers", allowed=["bn-not-frozen"])
def frozen_although_random(seed: int, broken: bool) -> Given:
    """The constructor freezes the body as for pretrained weights, and no such weights were asked for."""
    model = nn.Sequential(body(3, 8), nn.Linear(16, 4))
    model[0].requires_grad_(not broken)
    return _textures(
        seed, model, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    )


@cache
def _pretrained() -> dict[str, Tensor]:
    """Return weights of a body that has learnt to tell textures apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(body(3), nn.Linear(32, 4))
        given = _textures(99, model, torch.optim.Adam(model.parameters(), lr=5e-3))
        for inputs, targets in 5 * given.batches:
            given.optimizer.zero_grad()  # type: ignore[union-attr]
            F.cross_entropy(model(inputs), targets).backward()
            given.optimizer.step()  # type: ignore[union-attr]
    return {name: weight.clone() for name, weight in model[0].state_dict().items()}


class Probe(nn.Module):
    """A pretrained, frozen body with a new head; unless `alive`, the body stays in eval mode."""

    def __init__(self, num_classes: int, alive: bool) -> None:
        super().__init__()
        self.body, self.head, self.alive = body(3), nn.Linear(32, num_classes), alive
        self.body.load_state_dict(_pretrained())
        self.body.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Probe:
        """Set the mode of the head, and of the body only when `alive`."""
        super().train(mode)
        self.body.train(mode and self.alive)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.head(self.body(images))


@fault("https://github.com/kdexd/virtex/issues/16", "bn-not-frozen", harm="static")
def frozen_body_with_live_statistics(seed: int, broken: bool) -> Given:
    """The weights are frozen, and `model.train()` lets batch norm drift; a new head follows in a short training."""
    model = Probe(4, alive=broken)
    return _textures(seed, model, torch.optim.Adam(model.head.parameters(), lr=1e-2))
