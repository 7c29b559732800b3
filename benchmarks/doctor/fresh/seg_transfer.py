"""Faults of set-ups with library models: frozen bodies, replaced heads, modes, and what such models are given."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import timm
import torch
from benchmarks.doctor.cases import Given, fault
from benchmarks.doctor.fresh.seg_nets import EncoderDecoder
from benchmarks.doctor.fresh.seg_shared import binary, dice_and_bce, digits_from, multiclass, pretrained
from benchmarks.doctor.nets import ResNet, UNet, adam, classify, sgd
from benchmarks.doctor.pictures import Pictures, cells, digits, photos, shapes
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torchvision.models.resnet import BasicBlock
from torchvision.models.resnet import ResNet as TorchvisionResNet


@fault(
    "https://github.com/pytorch/vision/issues/2164 (backbone layers frozen although they are random)",
    "frozen-layers",
    allowed=("bn-not-frozen",),
)
def body_frozen_without_weights(seed: int, faulty: bool) -> Given:
    """The body is frozen as if it were pretrained, and weights is None."""
    model = ResNet(1, 10)
    if faulty:
        model.requires_grad_(False)
        model.fc.requires_grad_(True)
    optimizer = Adam([one for one in model.parameters() if one.requires_grad], lr=3e-3)
    return classify(model, digits(seed).normalized(), None, optimizer)


def _frozen(model: ResNet) -> ResNet:
    model.requires_grad_(False)
    model.fc = nn.Linear(model.fc.in_features, 5)
    return model


@fault(
    "https://github.com/kdexd/virtex/issues/16 (frozen backbone under .train())",
    "bn-not-frozen",
    allowed=("frozen-layers",),
    harm="static",
)
def frozen_body_whose_norms_run(seed: int, faulty: bool) -> Given:
    """A trained body is frozen, and its batch norms go on with the new pictures. A short training hides it."""
    model, pictures = _frozen(pretrained()), digits_from(5, seed)
    if not faulty:
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
    return classify(model, pictures, None, adam(model.fc, 1e-2))


@fault(
    "common pattern: the lines of the transfer tutorial in another order, the optimizer before the new head",
    ("optimizer-stale-params", "optimizer-missing-params"),
    allowed=("optimizer-stale-params", "optimizer-missing-params", "frozen-layers", "bn-not-frozen"),
)
def head_replaced_behind_the_optimizer(seed: int, faulty: bool) -> Given:
    """The optimizer is made from the frozen model, and the head is replaced afterwards."""
    model, pictures = pretrained(), digits_from(5, seed)
    model.requires_grad_(False)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    before = adam(model, 1e-2)
    model.fc = nn.Linear(model.fc.in_features, 5)
    return classify(model, pictures, None, before if faulty else adam(model.fc, 1e-2))


@fault(
    "https://github.com/jina-ai/finetuner/issues/435 (freeze=True: element 0 does not require grad)",
    "frozen-layers",
    allowed=("detached-graph",),
    harm="raises",
)
def everything_frozen(seed: int, faulty: bool) -> Given:
    """Layers not called fc are frozen, and the head of this library's model has another name."""
    model = timm.create_model("test_vit", pretrained=False, img_size=32, patch_size=8, num_classes=5, in_chans=1)
    if faulty:
        for name, one in model.named_parameters():
            one.requires_grad = name.startswith("fc.")
    return classify(model, _upscaled(seed), None, adam(model))


def _upscaled(seed: int) -> Pictures:
    small = digits_from(0, seed)
    inputs, held_out = (F.interpolate(one, size=32, mode="bilinear") for one in (small.inputs, small.test[0]))
    return Pictures(inputs, small.targets, (held_out, small.test[1]))


@fault(
    "https://github.com/wkentaro/pytorch-fcn/pull/56 (train mode after validation)",
    "eval-mode-training",
    updates=100,
)
def left_in_eval_after_validation(seed: int, faulty: bool) -> Given:
    """Validation sets eval mode, and nothing sets it back; here from the first update on."""
    model = UNet(1, 5)
    return multiclass(model.train(not faulty), shapes(seed, num=128).normalized(), None, sgd(model, 0.1))


@fault(
    "https://github.com/jfzhang95/pytorch-deeplab-xception/issues/41 (freeze_bn, an option meant for fine-tuning)",
    "eval-mode-training",
)
def norms_frozen_from_scratch(seed: int, faulty: bool) -> Given:
    """The recipe's freeze_bn puts all batch norms into eval mode, in a net that starts from nothing."""
    model = ResNet(1, 10, blocks=2)
    if faulty:
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
    return classify(model, digits(seed).normalized(), None, adam(model, 2e-3))


class _NoisyUNet(UNet):
    """Dropout of channels in the middle, by the functional form."""

    def __init__(self, in_channels: int, num_classes: int, told: bool) -> None:
        super().__init__(in_channels, num_classes, width=12)
        self.told = told

    def decode(self, x1: Tensor, x2: Tensor, x3: Tensor) -> Tensor:
        active = self.training if self.told else True
        x = self.up1(torch.cat([x2, self.up(F.dropout2d(x3, 0.3, active))], 1))
        x = self.up2(torch.cat([x1, self.up(x)], 1))
        return self.outc(F.dropout2d(x, 0.3, active))


@fault("https://github.com/pytorch/pytorch/issues/26338 (F.dropout in eval mode)", "dropout-always-on")
def functional_dropout_of_channels(seed: int, faulty: bool) -> Given:
    """F.dropout2d is called without `training`."""
    return multiclass(_NoisyUNet(1, 5, told=not faulty), shapes(seed, num=128).normalized())


@fault(
    "https://github.com/weiaicunzai/pytorch-cifar100/issues/29 (torchvision's stem on small pictures)",
    "spatial-collapse",
)
def library_stem_on_small_pictures(seed: int, faulty: bool) -> Given:
    """A net for 224 pixels gets 16, and its last two stages see 1 x 1 maps."""
    model = TorchvisionResNet(BasicBlock, [1, 1, 1, 1], num_classes=4)
    if not faulty:
        model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return classify(model, photos(seed, size=16).normalized(), None, adam(model, 1e-3))


@fault("https://github.com/Deci-AI/super-gradients/issues/416 (dataloader without shuffle)", "unshuffled-batches")
def folders_in_order(seed: int, faulty: bool) -> Given:
    """Pictures come folder by folder, that is, class by class."""
    pictures = digits_from(0, seed, 384)
    order = pictures.targets.argsort() if faulty else torch.arange(len(pictures.targets))
    model = ResNet(1, 5, width=12)
    given = Pictures(pictures.inputs[order], pictures.targets[order], pictures.test)
    return classify(model, given, None, adam(model, 2e-3))


def _lamps(seed: int, num: int = 256) -> Pictures:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (num + 150,), generator=draw)
    colors = torch.tensor([[0.9, 0.2, 0.2], [0.9, 0.75, 0.2], [0.2, 0.8, 0.3]])[labels]
    places = torch.rand(len(labels), 2, generator=draw) * 18 + 7
    lines = torch.arange(32.0)
    near = (lines[:, None] - places[:, :1, None]) ** 2 + (lines - places[:, 1:, None]) ** 2 < 20
    ground = torch.rand(len(labels), 3, 1, 1, generator=draw) * 0.6
    images = torch.where(near[:, None], colors[:, :, None, None], ground)
    images = images + 0.15 * torch.randn(images.shape, generator=draw)
    return Pictures(images[:num], labels[:num], (images[num:], labels[num:]))


def _other_hues(inputs: Tensor) -> Tensor:
    return torch.stack([one[torch.randperm(3)] for one in inputs])


def _other_sides(inputs: Tensor) -> Tensor:
    return torch.stack([one.flip(2) if torch.rand(()) < 0.5 else one for one in inputs])


@fault(
    "https://github.com/AlexeyAB/darknet/issues/2451 (hue augmentation and traffic lights)",
    "augmentation-changes-label",
)
def hues_of_traffic_lights(seed: int, faulty: bool) -> Given:
    """The class is the color of a lamp, and the augmentation exchanges colors."""
    model = timm.create_model("test_resnet", pretrained=False, num_classes=3)
    transform = _other_hues if faulty else _other_sides
    return classify(model, _lamps(seed).normalized(), None, adam(model, 2e-3), transform=transform)


@fault(
    "https://github.com/milesial/Pytorch-UNet/pull/325 (convolution bias before BN)", "bias-before-bn", harm="static"
)
def biases_under_norms(seed: int, faulty: bool) -> Given:
    """All convolutions keep their bias in front of batch norms. It costs a little memory, and no accuracy."""
    model = EncoderDecoder(3, 1)
    if faulty:
        for layer in [*model.encoder.modules(), *model.decoder.modules()]:
            if isinstance(layer, nn.Conv2d):
                layer.bias = nn.Parameter(torch.zeros(layer.out_channels))
    return binary(model, cells(seed, num=96, size=32).normalized(), dice_and_bce)


@fault(
    "https://github.com/huggingface/pytorch-image-models/pull/876 (helpers that freeze, as many train all at once)",
    "nothing-frozen",
    harm="static",
    allowed=("lr-too-high",),
)
def trained_body_at_the_rate_of_a_head(seed: int, faulty: bool) -> Given:
    """A trained body is trained further at once, at the rate of its new head. Whether it hurts depends on the task."""
    model, pictures = pretrained(), digits_from(5, seed)
    model.fc = nn.Linear(model.fc.in_features, 5)
    body = [one for name, one in model.named_parameters() if not name.startswith("fc.")]
    groups = [{"params": body, "lr": 1e-2 if faulty else 1e-4}, {"params": model.fc.parameters()}]
    return classify(model, pictures, None, Adam(groups, lr=1e-2))
