"""Tried in an afternoon: one slip in the net itself or in what its head gives to the loss."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import torch
from benchmarks.doctor.cases import Given, batched, fault
from benchmarks.doctor.last.try_nets import Aspp, CifarNet, DeepLab, LeNet, TransposedUNet, few, masks, signs, vgg
from benchmarks.doctor.nets import adam, conv_bn_relu, sgd
from benchmarks.doctor.pictures import digits, shapes
from benchmarks.doctor.scores import fit, iou_above
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from torchvision.models import mobilenet_v3_small


@fault("https://github.com/jindongwang/Deep-learning-activity-recognition/issues/10", "softmax-before-ce")
def mobilenet_with_softmax_head(seed: int, bad: bool) -> Given:
    """The classifier of a torchvision net is replaced by Linear and Softmax, and the loss is CrossEntropyLoss."""
    found = signs(seed, num=64).normalized()
    model = mobilenet_v3_small(num_classes=6, dropout=0.0)
    head = nn.Linear(576, 6)
    model.classifier = nn.Sequential(head, nn.Softmax(dim=1)) if bad else head
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.1
    return few(model, found, sgd(model, 0.05))


class SigmoidUNet(TransposedUNet):
    """The U-Net with a sigmoid at its end."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sigmoid()


@fault("common pattern: the MNIST example's F.nll_loss with a net of one's own",
       "nll-without-logsoftmax")  # fmt: skip
def lenet_scores_into_nll(seed: int, bad: bool) -> Given:
    """The MNIST example's F.nll_loss is kept, its log_softmax at the end of forward is not."""
    found = digits(seed, 128, 28).normalized()
    model = LeNet()

    def loss(found: Tensor, targets: Tensor) -> Tensor:
        return F.nll_loss(found if bad else F.log_softmax(found, 1), targets)

    return few(model, found, sgd(model, 0.02), loss_fn=loss)


class ReluHead(CifarNet):
    """The tutorial's net, every layer of it with a ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


@fault("https://github.com/pytorch/tutorials/pull/1644", "activation-on-logits")
def relu_after_the_last_layer(seed: int, bad: bool) -> Given:
    """The last linear layer is wrapped into F.relu as the others are."""
    found = signs(seed).normalized()
    model = ReluHead(6) if bad else CifarNet(6)
    return few(model, found, sgd(model, 0.01))


@fault("https://github.com/open-mmlab/mmsegmentation/issues/2201", ["loss-mismatch", "head-size-mismatch"],
       allowed=["loss-mismatch", "head-size-mismatch", "unused-params"])  # fmt: skip
def one_channel_into_cross_entropy(seed: int, bad: bool) -> Given:
    """A binary segmenter with one output goes into CrossEntropyLoss with float masks: the loss is always 0."""
    found = shapes(seed, 32).normalized()
    drawn, truth = (found.targets > 0).float()[:, None], (found.test[1] > 0).long()[:, None]
    model = DeepLab(1, 1)
    loss = nn.CrossEntropyLoss() if bad else nn.BCEWithLogitsLoss()
    more = {"batches": batched(found.inputs, drawn, 16), "test": (found.test[0], truth)}
    return masks(model, found, adam(model), loss_fn=loss, score=iou_above(0.0), **more)


class CutDeepLab(DeepLab):
    """The coarse features are wrapped anew on the way to the decoder."""

    def forward(self, x: Tensor) -> Tensor:
        fine, coarse = self.features(x)
        return self.join(fine.data, coarse.data)


@fault("https://github.com/pytorch/pytorch/issues/6990 and alike: .data on the way", "detached-graph")
def decoder_fed_by_data(seed: int, bad: bool) -> Given:
    """Encoder features are passed on as `.data`, as in code of the days of Variable."""
    found = shapes(seed, 64).normalized()
    model = CutDeepLab(1, 5) if bad else DeepLab(1, 5)
    return masks(model, found, adam(model, 3e-3))


class ListNet(nn.Module):
    """An encoder whose stages lie in a python list, or in a ModuleList."""

    def __init__(self, registered: bool) -> None:
        super().__init__()
        self.stem = conv_bn_relu(3, 16)
        stages = [conv_bn_relu(16 * 2**number, 32 * 2**number, 2) for number in range(2)]
        self.stages = nn.ModuleList(stages) if registered else stages
        self.fc = nn.Linear(64, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.fc(x.mean((2, 3)))


@fault("https://github.com/pytorch/pytorch/issues/1053", "unregistered-params")
def stages_in_a_list(seed: int, bad: bool) -> Given:
    """The stages are kept in a python list: neither the optimizer nor eval() reaches them."""
    found = signs(seed, num=64).normalized()
    model = ListNet(registered=not bad)
    return few(model, found, adam(model, 2e-3))


class UnusedContext(DeepLab):
    """The dilated head is built and computed, but the coarse features go past it."""

    def __init__(self) -> None:
        super().__init__(1, 5)
        self.aspp = Aspp(48, 48)
        self.classifier = nn.Sequential(conv_bn_relu(60, 32), nn.Conv2d(32, 5, 1))
        self.skipped = False

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine, _, coarse = self.backbone(x)
        context = self.aspp(coarse)
        return fine, coarse if self.skipped else context


@fault("common pattern: a variable is computed and the one before it is passed on", "unused-params", harm="static")
def context_module_left_aside(seed: int, bad: bool) -> Given:
    """`y = self.aspp(x)` is followed by a decoder that takes x.

    On small pictures the backbone alone does as well: what is lost is what the module was built for.
    """
    found = shapes(seed, 48).normalized()
    model = UnusedContext()
    model.skipped = bad
    return masks(model, found, adam(model, 3e-3))


class PatchEncoder(nn.Module):
    """A small vision transformer of PyTorch's own encoder layers."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, 48, 4, 4)
        self.places = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 49, 48), std=0.02))
        options = {"dim_feedforward": 96, "dropout": 0.0, "norm_first": True, "batch_first": batch_first}
        layers = [nn.TransformerEncoderLayer(48, 4, **options) for _ in range(2)]
        self.layers, self.norm, self.head = nn.Sequential(*layers), nn.LayerNorm(48), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2) + self.places
        return self.head(self.norm(self.layers(x)).mean(1))


@fault("https://github.com/Exorust/TorchLeet/issues/5", "batch-mixing", updates=120)
def encoder_layers_not_batch_first(seed: int, bad: bool) -> Given:
    """Tokens N x L x C go into encoder layers that take L x N x C: attention runs over the samples."""
    found = digits(seed, 192, 28).normalized()
    model = PatchEncoder(batch_first=not bad)
    return few(model, found, AdamW(model.parameters(), lr=1e-3))


@fault("common pattern: keep_prob of TensorFlow 1 written as p of nn.Dropout", "dropout-too-high")
def keep_probability_as_drop(seed: int, bad: bool) -> Given:
    """Dropout gets 0.9, meant as the share that is kept, behind each hidden layer."""
    found = digits(seed, 128, 28).normalized()
    p = 0.9 if bad else 0.1
    layers = [nn.Linear(784, 128), nn.ReLU(), nn.Dropout(p), nn.Linear(128, 64), nn.ReLU(), nn.Dropout(p)]
    model = nn.Sequential(nn.Flatten(), *layers, nn.Linear(64, 10))
    return few(model, found, adam(model))


@fault("common pattern: constant_ for weights and biases alike in an init function", "symmetric-init")
def constant_start(seed: int, bad: bool) -> Given:
    """An init function fills every weight with 0.01 to start "from small values"."""
    found = signs(seed).normalized()
    model = CifarNet()
    if bad:
        for weight in model.parameters():
            nn.init.constant_(weight, 0.01)
    return few(model, found, sgd(model, 0.02))


@fault("common pattern: AlexNet's init copied to deeper nets, as in many VGG repositories", "init-too-small",
       allowed=["missing-normalization", "deep-plain-net"])  # fmt: skip
def alexnet_init_on_vgg(seed: int, bad: bool) -> Given:
    """normal_(0, 0.01) for all weights of a VGG without norm."""
    found = signs(seed).normalized()
    model = vgg(6, (16, 16, "M", 32, 32, "M", 64, 64, "M"), norm=False)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and bad:
            nn.init.normal_(layer.weight, 0, 0.01)
        elif isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return few(model, found, sgd(model, 0.02))


@fault("common pattern: torch.randn for the weights of hand-written layers", "init-too-large")
def weights_from_randn(seed: int, bad: bool) -> Given:
    """The weights of an auto-encoder's layers are drawn by randn, unscaled."""
    found = digits(seed, 128, 16)
    layers = [nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 64), nn.ReLU()]
    model = nn.Sequential(nn.Flatten(), *layers, nn.Linear(64, 256))
    for layer in model:
        if isinstance(layer, nn.Linear) and bad:
            nn.init.normal_(layer.weight)
    flat, test = found.inputs.flatten(1), found.test[0].flatten(1)
    more = {"loss_fn": nn.MSELoss(), "batches": batched(found.inputs, flat), "test": (found.test[0], test)}
    return few(model, found, adam(model, 2e-3), score=fit, **more)


@fault("common pattern: RetinaNet's bias of the last layer given to all layers", "dead-relu",
       allowed=["bad-initial-loss"])  # fmt: skip
def prior_bias_everywhere(seed: int, bad: bool) -> Given:
    """The bias -log((1 - 0.01) / 0.01), meant for the output, is given to every convolution and linear layer."""
    found = signs(seed).normalized()
    model = CifarNet()
    for layer in (model.conv1, model.conv2, model.fc1, model.fc2):
        nn.init.constant_(layer.bias, -4.6 if bad else 0.0)
    return few(model, found, adam(model))
