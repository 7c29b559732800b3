"""Faults of batch norm and dropout."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import torch
from benchmarks.doctor.cases import Given, batched, fault
from benchmarks.doctor.nets import ConvNet, PlainNet, ResNet, UNet, classify, conv_bn_relu, segment, sgd
from benchmarks.doctor.pictures import digits, photos, shapes
from benchmarks.doctor.scores import accuracy_by_class, accuracy_in_batches
from torch import Tensor, nn
from torch.nn import functional as F


def set_norms(model: nn.Module, **fields: object) -> nn.Module:
    """Set fields of all batch norms."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for name, value in fields.items():
                setattr(layer, name, value)
    return model


def group_norms(model: nn.Module, groups: int = 4) -> nn.Module:
    """Put group norm in the place of batch norm."""
    for layer in list(model.modules()):
        for name, child in layer.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(layer, name, nn.GroupNorm(groups, child.num_features))
    return model


class SmallBatches(PlainNet):
    """Batch norm on the hidden units, each of which has one value a sample."""

    def __init__(self, norm: type[nn.Module]) -> None:
        super().__init__(1, 10, 16)
        self.norm = norm(64)

    def hidden(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.relu(self.norm(self.fc1(torch.flatten(x, 1))))


@fault(
    "https://github.com/layumi/Person_reID_baseline_pytorch/issues/218 (batch norm with few samples), here two",
    "bn-small-batch",
    updates=150,
)
def batch_norm_of_two_samples(seed: int, faulty: bool) -> Given:
    pictures = digits(seed)
    model = SmallBatches(nn.BatchNorm1d if faulty else nn.LayerNorm)
    batches = batched(pictures.inputs, pictures.targets, 2)
    return classify(model, pictures, batches=batches)


class PoolingBranch(nn.Module):
    """A net whose last features are normed after the mean over the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv_bn_relu(1, 16), conv_bn_relu(16, 32, 2))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(32, 32, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.outc = nn.Conv2d(64, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.body(x)
        both = torch.cat([maps, self.pool(maps).expand_as(maps)], 1)
        return F.interpolate(self.outc(both), size=x.shape[-2:], mode="bilinear")


@fault(
    "common pattern: DeepLab's image pooling with batch norm and one picture a batch: it raises",
    "bn-small-batch",
    harm="raises",
)
def norm_of_one_value_a_channel(seed: int, faulty: bool) -> Given:
    pictures = shapes(seed).normalized()
    model = PoolingBranch() if faulty else group_norms(PoolingBranch())
    return segment(model, pictures, batches=batched(pictures.inputs, pictures.targets, 1))


@fault(
    "https://github.com/sahagobinda/GPM/issues/9 (track_running_stats=False in all batch norms)",
    "bn-no-running-stats",
    updates=100,
)
def running_statistics_not_tracked(seed: int, faulty: bool) -> Given:
    model = ConvNet(1, 10)
    if faulty:
        set_norms(model, track_running_stats=False, running_mean=None, running_var=None, num_batches_tracked=None)
    return classify(model, digits(seed), score=accuracy_by_class)


@fault("https://github.com/xu-ji/IIC/issues/49 (statistics of the test batch)", "bn-no-running-stats", updates=100)
def statistics_of_the_batch_in_use(seed: int, faulty: bool) -> Given:
    def norm(channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels, track_running_stats=not faulty)

    sizes = ((3, 16, 1), (16, 32, 2), (32, 32, 2))
    layers = [(nn.Conv2d(a, b, 3, s, 1, bias=False), norm(b), nn.ReLU()) for a, b, s in sizes]
    flat = [layer for one in layers for layer in one]
    model = nn.Sequential(*flat, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4))
    return classify(model, photos(seed).normalized(), score=accuracy_in_batches(1))


@fault(
    "https://github.com/kazuto1011/deeplab-pytorch/issues/79 (momentum=0.999, meant as in other frameworks)",
    "bn-bad-momentum",
    updates=120,
)
def momentum_of_other_frameworks(seed: int, faulty: bool) -> Given:
    pictures = photos(seed).normalized()
    model = set_norms(ResNet(3, 4, blocks=2), momentum=0.999 if faulty else 0.1)
    return classify(model, pictures, batches=batched(pictures.inputs, pictures.targets, 8))


@fault(
    "https://github.com/pytorch/pytorch/issues/15298 (momentum=0: the running statistics stay at 0 and 1)",
    "bn-bad-momentum",
)
def momentum_of_zero(seed: int, faulty: bool) -> Given:
    model = set_norms(ConvNet(1, 10), momentum=0.0 if faulty else 0.1)
    return classify(model, digits(seed), optimizer=sgd(model))


@fault("common pattern: nn.Conv2d with its default bias before batch norm", "bias-before-bn", harm="static")
def biases_before_batch_norm(seed: int, faulty: bool) -> Given:
    """The bias is subtracted again with the mean: weights that do nothing, and no harm to what is learnt."""
    sizes = ((1, 16, 1), (16, 32, 2), (32, 32, 2))
    layers = [(nn.Conv2d(a, b, 3, s, 1, bias=faulty), nn.BatchNorm2d(b), nn.ReLU()) for a, b, s in sizes]
    flat = [layer for one in layers for layer in one]
    model = nn.Sequential(*flat, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    return classify(model, digits(seed))


@fault(
    "https://github.com/bonlime/keras-deeplab-v3-plus/issues/4 (Dropout(0.9), where 0.9 was kept)", "dropout-too-high"
)
def keep_probability_as_drop_probability(seed: int, faulty: bool) -> Given:
    p = 0.95 if faulty else 0.05
    layers = [(nn.Linear(a, 64), nn.ReLU(), nn.Dropout(p)) for a in (256, 64)]
    model = nn.Sequential(nn.Flatten(), *(layer for one in layers for layer in one), nn.Linear(64, 10))
    return classify(model, digits(seed), optimizer=sgd(model))


@fault(
    "https://github.com/piergiaj/pytorch-i3d/issues/58 (the remove probability taken for the keep probability)",
    "dropout-too-high",
    updates=80,
)
def channels_dropped_in_every_block(seed: int, faulty: bool) -> Given:
    p = 0.9 if faulty else 0.1
    blocks = [(conv_bn_relu(a, b), nn.Dropout2d(p)) for a, b in ((1, 16), (16, 32), (32, 16))]
    model = nn.Sequential(*(layer for one in blocks for layer in one), nn.Conv2d(16, 5, 1))
    return segment(model, shapes(seed).normalized())


@fault(
    "Li et al. 2018, Understanding the Disharmony between Dropout and Batch Normalization (arXiv 1801.05134)",
    "dropout-before-bn",
    harm="static",
)
def dropout_feeds_batch_norm(seed: int, faulty: bool) -> Given:
    """The variance that batch norm keeps is that of dropped features; what it costs goes up and down with the seed."""
    body = [conv_bn_relu(1, 16, 2), conv_bn_relu(16, 32, 2), nn.Flatten()]
    before = [nn.Dropout(0.5), nn.Linear(512, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU()]
    behind = [nn.Linear(512, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.5)]
    model = nn.Sequential(*body, *(before if faulty else behind), nn.Linear(64, 10))
    return classify(model, digits(seed))


class Dropped(PlainNet):
    """F.dropout behind the convolutions and the hidden layer; it asks for the mode, or it does not."""

    always = False

    def forward(self, x: Tensor) -> Tensor:
        on = self.always or self.training
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.dropout(F.max_pool2d(F.relu(self.conv2(x)), 2), 0.5, on)
        return self.fc2(F.dropout(F.relu(self.fc1(torch.flatten(x, 1))), 0.5, on))


class AlwaysDropped(Dropped):
    """F.dropout as it is by default: on."""

    always = True


@fault(
    "https://github.com/pytorch/pytorch/issues/26338 (F.dropout without training=self.training)",
    "dropout-always-on",
    updates=100,
)
def functional_dropout_in_eval_mode(seed: int, faulty: bool) -> Given:
    model = (AlwaysDropped if faulty else Dropped)(1, 10, 16)
    return classify(model, digits(seed))


class MadeOnce(UNet):
    """A U-Net that drops half of its last features."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(in_channels, num_classes)
        self.dropout = nn.Dropout(0.5)

    def last(self, x: Tensor) -> Tensor:
        """Return logits of the last features."""
        return self.outc(self.dropout(x))

    def decode(self, x1: Tensor, x2: Tensor, x3: Tensor) -> Tensor:
        x = self.up1(torch.cat([x2, self.up(x3)], 1))
        return self.last(self.up2(torch.cat([x1, self.up(x)], 1)))


class MadeInForward(MadeOnce):
    """The same with a dropout layer that is made anew in every forward, and so is never in eval mode."""

    def last(self, x: Tensor) -> Tensor:
        return self.outc(nn.Dropout(0.5)(x))


@fault(
    "https://github.com/pytorch/pytorch/issues/11999 (dropout still active in eval mode)",
    "dropout-always-on",
    updates=100,
)
def dropout_layer_made_in_forward(seed: int, faulty: bool) -> Given:
    return segment((MadeInForward if faulty else MadeOnce)(1, 5), shapes(seed).normalized())
