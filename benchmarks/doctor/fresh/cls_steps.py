"""Faults of the optimizer, of the schedule and of the mode in which a net is trained."""

# N batch, C channels, H W pixels, K classes, D size of an embedding

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from benchmarks.doctor.cases import Batch, Given, fault
from benchmarks.doctor.fresh.cls_makers import Samples, fruits, given, slopes, table, vision_transformer
from benchmarks.doctor.nets import ConvNet, PlainNet, ResNet, adam, classify, conv_bn_relu, mlp, sgd
from benchmarks.doctor.pictures import digits
from benchmarks.doctor.scores import fit, outputs
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import OneCycleLR, StepLR


@fault("common pattern: Adam with the rate 0.1 of an SGD recipe", "lr-too-high", updates=120)
def rate_of_sgd_for_adam(seed: int, faulty: bool) -> Given:
    """A transformer is trained by Adam at 0.1, as a ResNet is by SGD."""
    model = vision_transformer(10)
    return classify(model, digits(seed).normalized(), optimizer=adam(model, 0.1 if faulty else 3e-3))


@fault("ivadomed/ivadomed pull 55; Lornatang/SRGAN-PyTorch issue 1", "lr-too-low", updates=120)
def epoch_schedule_in_the_batch_loop(seed: int, faulty: bool) -> Given:
    """`StepLR(step_size=5)` counts epochs, but is stepped after every batch: the rate is gone after one epoch."""
    model = ResNet(1, 10)
    optimizer = sgd(model, 0.02)
    schedule = StepLR(optimizer, 5 if faulty else 5 * 16, 0.1)
    return classify(model, digits(seed).normalized(), optimizer=optimizer, schedule=schedule)


@fault("common pattern: `lr=2e-5` of a fine-tuning script for a net from scratch", "lr-too-low", updates=200)
def rate_of_fine_tuning(seed: int, faulty: bool) -> Given:
    """The rate for a pretrained transformer is kept for one that starts from nothing."""
    model = vision_transformer(10)
    optimizer = AdamW(model.parameters(), 2e-5 if faulty else 3e-3, weight_decay=0.01)
    return classify(model, digits(seed).normalized(), optimizer=optimizer)


@fault("common pattern: OneCycleLR with a `max_lr` of 10 times too much", "lr-too-high", updates=120)
def peak_of_one_cycle(seed: int, faulty: bool) -> Given:
    """The optimizer's rate looks harmless, the schedule lifts it to 3 in its warm-up."""
    model = PlainNet(1, 10, 16)
    optimizer = sgd(model, 0.02)
    schedule = OneCycleLR(optimizer, 3.0 if faulty else 0.05, total_steps=1000, pct_start=0.1)
    return classify(model, digits(seed).normalized(), optimizer=optimizer, schedule=schedule)


@fault("BVLC/caffe issue 1396; tflearn/tflearn issue 772", "weight-decay-too-high", updates=120)
def decay_of_half(seed: int, faulty: bool) -> Given:
    """Weight decay of 0.5: after a while every input gives the same output."""
    model = ConvNet(3, 4)
    optimizer = SGD(model.parameters(), 0.05, 0.9, weight_decay=0.5 if faulty else 5e-4)
    return classify(model, fruits(seed).normalized(), optimizer=optimizer)


@fault(
    "common pattern: AdamW's decay of 0.1 given to Adam, where it is divided by the gradient's size",
    "weight-decay-too-high",
    updates=150,
)
def decoupled_decay_in_adam(seed: int, faulty: bool) -> Given:
    """A decay that suits AdamW is added to the gradient by Adam and drowns it."""
    data = slopes(seed)
    model = nn.Sequential(mlp(6, 1), nn.Flatten(0))
    kind = Adam if faulty else AdamW
    return replace(given(model, data, nn.MSELoss(), kind(model.parameters(), 5e-3, weight_decay=0.3)), score=fit)


@fault(
    "common pattern: momentum 0.999 taken over from the betas of Adam", {"momentum-too-high", "lr-too-high"}, updates=80
)
def momentum_of_second_beta(seed: int, faulty: bool) -> Given:
    """SGD with momentum 0.999: steps of a thousand updates add up."""
    model = PlainNet(1, 10, 16)
    optimizer = SGD(model.parameters(), 0.02, 0.999 if faulty else 0.9)
    return classify(model, digits(seed).normalized(), optimizer=optimizer)


class _Margin(nn.Module):
    """Cross-entropy over cosines to class centers, which are weights of the loss; a margin for the true class."""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, dim))

    def cosines(self, embedded: Tensor) -> Tensor:
        """Return N K."""
        return F.linear(F.normalize(embedded), F.normalize(self.weight))

    def forward(self, embedded: Tensor, targets: Tensor) -> Tensor:
        margin = 0.2 * F.one_hot(targets, len(self.weight))
        return F.cross_entropy(16 * (self.cosines(embedded) - margin), targets)


@fault("4uiiurz1/pytorch-adacos issue 10; wujiyang/Face_Pytorch issue 10", "optimizer-missing-params", updates=200)
def class_centers_left_out(seed: int, faulty: bool) -> Given:
    """The loss has weights of its own, and the optimizer got `model.parameters()` only."""
    model, loss_fn = ConvNet(1, 3), _Margin(3, 10)
    params = list(model.parameters()) + ([] if faulty else list(loss_fn.parameters()))

    def score(trained: nn.Module, test: Batch) -> float:
        with torch.no_grad():
            found = loss_fn.cosines(outputs(trained, test[0]))
        return float((found.argmax(1) == test[1]).float().mean())

    return classify(model, digits(seed).normalized(), loss_fn, Adam(params, 5e-3), score=score)


@fault("skorch-dev/skorch issue 317: the module is copied, its optimizer is not", "optimizer-stale-params")
def copy_is_trained(seed: int, faulty: bool) -> Given:
    """A fold of a cross-validation trains a copy of the net with the optimizer of the original."""
    first = ConvNet(1, 10)
    optimizer = adam(first, 3e-3)
    model = copy.deepcopy(first) if faulty else first
    return classify(model, digits(seed).normalized(), optimizer=optimizer)


class _Code(nn.Module):
    """An auto-encoder of pictures 1 x 16 x 16 with a code of 24."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(256, 96), nn.ReLU(), nn.Linear(96, 24))
        self.decoder = nn.Sequential(nn.ReLU(), nn.Linear(24, 96), nn.ReLU(), nn.Linear(96, 256))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x)).reshape(x.shape)


@fault(
    "common pattern: `Adam(decoder.parameters())`, the encoder comes from another file",
    "optimizer-missing-params",
    updates=150,
)
def encoder_left_out(seed: int, faulty: bool) -> Given:
    """Encoder and decoder are modules of their own, and the optimizer got one of them."""
    model, pictures = _Code(), digits(seed)
    data = Samples(pictures.inputs, pictures.inputs, (pictures.test[0], pictures.test[0]))
    part = model.decoder if faulty else model
    return replace(given(model, data, nn.MSELoss(), adam(part, 3e-3)), score=fit)


@fault(
    "common pattern: `MSELoss(reduction='sum')` of an auto-encoder's example, with SGD",
    "loss-reduction-sum",
    allowed=["lr-too-high"],
    updates=150,
)
def pixels_summed_up(seed: int, faulty: bool) -> Given:
    """The squared error is summed over 32 pictures of 256 pixels, the rate is that for a mean over pictures."""
    model, pictures = _Code(), digits(seed)
    data = Samples(pictures.inputs, pictures.inputs, (pictures.test[0], pictures.test[0]))

    def loss_fn(outs: Tensor, targets: Tensor) -> Tensor:
        total = F.mse_loss(outs, targets, reduction="sum")
        return total if faulty else total / len(outs)

    return replace(given(model, data, loss_fn, sgd(model, 0.01)), score=fit)


@fault("wkentaro/pytorch-fcn issue 57; joeynmt/joeynmt issue 184", "eval-mode-training", updates=60)
def left_in_eval_mode(seed: int, faulty: bool) -> Given:
    """Validation has put the net into eval mode, and training goes on in it."""
    layers = [conv_bn_relu(16 if place else 3, 16, 2 if place in (2, 4) else 1) for place in range(8)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    return classify(model.train(not faulty), fruits(seed).normalized(), optimizer=sgd(model, 0.02))


class _Dropping(nn.Module):
    """A perceptron with dropout, which is made anew in every forward or follows the mode."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(8, 96), nn.Linear(96, 96), nn.Linear(96, 4)
        self.always = always

    def forward(self, x: Tensor) -> Tensor:
        active = self.always or self.training
        x = F.dropout(F.relu(self.fc1(x)), 0.4, active)
        return self.fc3(F.dropout(F.relu(self.fc2(x)), 0.4, active))


@fault("yangze0930/NTS-Net issue 14; rixwew/pytorch-fm issue 21", "dropout-always-on", updates=200)
def dropout_made_in_forward(seed: int, faulty: bool) -> Given:
    """`nn.Dropout(p)(x)` in forward: the new layer is in training mode whatever the net is in."""
    model = _Dropping(faulty)
    return given(model, table(seed), nn.CrossEntropyLoss(), adam(model, 5e-3))


@fault("pytorch/vision issue 2164: layers are frozen also where nothing was pretrained", "frozen-layers", updates=80)
def frozen_without_weights(seed: int, faulty: bool) -> Given:
    """The first layers are frozen for fine-tuning, but `weights=None` was asked for."""
    model = ResNet(3, 4)
    for layer in (model.stem, model.layer1, model.layer2, model.layer3):
        layer.requires_grad_(not faulty)
    optimizer = Adam([one for one in model.parameters() if one.requires_grad], 2e-3)
    return classify(model, fruits(seed).normalized(), optimizer=optimizer)
