"""Sound nets and trainings of dense prediction that look odd to a simple rule."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import torch
from benchmarks.doctor.cases import Given, batched, sound
from benchmarks.doctor.fresh.seg_bodies import TwoHeads
from benchmarks.doctor.fresh.seg_nets import (
    EncoderDecoder,
    FullyConv,
    InvertedResidual,
    PatchSegmenter,
    PointNet,
    Pyramid,
)
from benchmarks.doctor.fresh.seg_shared import (
    binary,
    dice_and_bce,
    distances,
    found_points,
    multiclass,
    points,
    regress,
    soft_dice,
    spots,
)
from benchmarks.doctor.nets import UNet, adam, conv_bn_relu, sgd
from benchmarks.doctor.pictures import Pictures, cells, shapes
from benchmarks.doctor.scores import labels_right
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, lr_scheduler


@sound("https://github.com/qubvel-org/segmentation_models.pytorch (binary masks, Dice and BCE from logits)", score=0.6)
def dice_and_bce_from_logits(seed: int) -> Given:
    """One output, a sigmoid in the loss only, a fifth of the pixels foreground."""
    return binary(EncoderDecoder(3, 1), cells(seed, num=96, size=32).normalized(), dice_and_bce)


class _GroupConv(nn.Sequential):
    """(convolution, group norm, ReLU) twice."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            layers += [nn.Conv2d(channels, out_channels, 3, padding=1), nn.GroupNorm(4, out_channels), nn.ReLU()]
        super().__init__(*layers)


@sound("https://github.com/wolny/pytorch-3dunet (group norm, batches of one)", score=0.4, updates=200)
def group_norm_with_four_pictures(seed: int) -> Given:
    """Batches of four, which group norm does not mind."""
    pictures = shapes(seed, num=128).normalized()
    return multiclass(UNet(1, 5, block=_GroupConv), pictures, batches=batched(pictures.inputs, pictures.targets, 4))


def _void(masks: Tensor) -> Tensor:
    found = masks.clone()
    edge = masks[:, 1:] != masks[:, :-1]
    found[:, 1:][edge] = 255
    return found


@sound("https://github.com/VainF/DeepLabV3Plus-Pytorch (dilations, void borders of Pascal VOC)", score=0.4)
def dilated_with_void_borders(seed: int) -> Given:
    """Dilated branches, a batch norm on 1 x 1 maps of 16 pictures, and borders of 255 that the loss ignores."""
    pictures = shapes(seed, num=128).normalized()
    marked = Pictures(pictures.inputs, _void(pictures.targets), pictures.test)
    return multiclass(Pyramid(1, 5), marked, nn.CrossEntropyLoss(ignore_index=255))


@sound("https://github.com/wkentaro/pytorch-fcn (upsampling with fixed bilinear weights)", score=0.4, updates=80)
def fixed_bilinear_upsampling(seed: int) -> Given:
    """Transposed convolutions hold bilinear weights and are frozen."""
    model = FullyConv(1, 5)
    line = torch.tensor([0.25, 0.75, 0.75, 0.25])
    for layer in model.enlarge:
        assert isinstance(layer, nn.ConvTranspose2d) and layer.bias is not None
        with torch.no_grad():
            layer.weight.zero_()
            layer.weight[range(5), range(5)] = line[:, None] * line
            layer.bias.zero_()
        layer.requires_grad_(False)
    optimizer = Adam([one for one in model.parameters() if one.requires_grad], lr=2e-3)
    return multiclass(model, shapes(seed, num=128).normalized(), None, optimizer)


@sound("https://github.com/cleinc/bts/issues/113 (loss only where a sensor has depth)", score=0.6)
def sparse_distances(seed: int) -> Given:
    """Half of the distances are 0, unknown, and left out by the loss; the output is a softplus, as distances are."""
    pictures = distances(seed)
    targets = pictures.targets[:, None].clone()
    targets[torch.rand(targets.shape, generator=torch.Generator().manual_seed(seed)) < 0.5] = 0

    def loss_fn(found: Tensor, wanted: Tensor) -> Tensor:
        known = wanted > 0
        return (found[known].log() - wanted[known].log()).abs().mean()

    model = EncoderDecoder(1, 1, nn.Softplus())
    return regress(model, Pictures(pictures.inputs, targets, pictures.test), loss_fn, adam(model, 5e-3))


@sound("https://github.com/xingyizhou/CenterNet/issues/90 (bias of -2.19 and a focal loss)", score=0.6, updates=80)
def focal_loss_with_prior_bias(seed: int) -> Given:
    """The last bias is -2.19 and the loss is divided by the number of points, so that it starts high."""
    model = PointNet(1, 2)
    assert model.final.bias is not None
    nn.init.constant_(model.final.bias, -2.19)

    def loss_fn(logits: Tensor, wanted: Tensor) -> Tensor:
        found, peaks = logits.sigmoid().clamp(1e-4, 1 - 1e-4), (wanted == 1).float()
        near = peaks * (1 - found) ** 2 * found.log()
        far = (1 - peaks) * (1 - wanted) ** 4 * found**2 * (1 - found).log()
        return -(near + far).sum() / peaks.sum()

    return regress(model, points(seed), loss_fn, adam(model, 3e-3), score=found_points)


class _Change(nn.Module):
    """One encoder for two pictures, which lie behind one another in the channels, and their difference decoded."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = EncoderDecoder(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        before, after = (self.whole.encoder(one) for one in x.chunk(2, 1))
        change = [(a - b).abs() for a, b in zip(before, after, strict=True)]
        return self.whole.segmentation_head(self.whole.decoder(change))


@sound("https://github.com/rcdaudt/fully_convolutional_change_detection (siamese encoder)", score=0.6)
def siamese_change_detection(seed: int) -> Given:
    """The encoder is used twice in one pass, and its weights are shared on purpose."""
    old, new = (shapes(one, num=128) for one in (seed, seed + 100))

    def pair(first: Tensor, second: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        drawn = torch.where((masks > 0)[:, None], second, first)
        return (torch.cat([first, drawn], 1) - 0.4) / 0.15, ((drawn - first).abs() > 0.1).long()[:, 0]

    train = pair(old.inputs, new.inputs, new.targets)
    return binary(_Change(), Pictures(*train, pair(old.test[0], new.test[0], new.test[1])), dice_and_bce)


@sound("https://github.com/foamliu/Deep-Image-Matting-PyTorch (alpha from 0 to 1)", ("mask-interpolated",), 0.5)
def alpha_of_soft_edges(seed: int) -> Given:
    """Masks are shares of foreground, soft at the edges on purpose; sigmoid and L1."""
    pictures = shapes(seed, num=128, sides=(5, 9)).normalized()

    def soft(masks: Tensor) -> Tensor:
        return F.avg_pool2d((masks > 0).float()[:, None], 5, 1, 2)

    test = pictures.test[0], soft(pictures.test[1])
    return regress(UNetSigmoid(), Pictures(pictures.inputs, soft(pictures.targets), test))


class UNetSigmoid(UNet):
    """Answers between 0 and 1."""

    def __init__(self) -> None:
        super().__init__(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sigmoid()


class _Residual(nn.Module):
    """The noise, which a zero-initialised last layer takes as 0 at first."""

    def __init__(self, width: int = 24, depth: int = 5) -> None:
        super().__init__()
        middle = [conv_bn_relu(width, width) for _ in range(depth - 2)]
        last = nn.Conv2d(width, 3, 3, padding=1, bias=False)
        nn.init.zeros_(last.weight)
        self.body = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), *middle, last)

    def forward(self, x: Tensor) -> Tensor:
        return x - self.body(x)


@sound("https://github.com/cszn/DnCNN (residual learning of noise)", score=0.8)
def noise_as_residual(seed: int) -> Given:
    """The net starts as the identity and learns what to take away."""
    clean = cells(seed, num=128, size=32).normalized()

    def noisy(inputs: Tensor) -> Tensor:
        return inputs + 0.5 * torch.randn(inputs.shape, generator=torch.Generator().manual_seed(seed))

    model = _Residual()
    pictures = Pictures(noisy(clean.inputs), clean.inputs, (noisy(clean.test[0]), clean.test[0]))
    return regress(model, pictures, nn.MSELoss(), adam(model, 2e-3))


@sound("https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix (tanh, instance norm, L1)", score=0.6, updates=80)
def tanh_for_pictures(seed: int) -> Given:
    """Targets are pictures in [-1, 1], so that tanh and L1 fit; instance norm without parameters; weights of 0.02."""
    colored = cells(seed, num=128, size=32)
    layers: list[nn.Module] = []
    for before, after in ((3, 24), (24, 24), (24, 24)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.InstanceNorm2d(after), nn.LeakyReLU(0.2)]
    model = nn.Sequential(*layers, nn.Conv2d(24, 3, 3, padding=1), nn.Tanh())
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0, 0.02)

    def pair(inputs: Tensor) -> tuple[Tensor, Tensor]:
        wanted = F.avg_pool2d(inputs, 3, 1, 1, count_include_pad=False) * 1.6 - 0.8
        return inputs * 2 - 1, wanted.flip(1)

    return regress(model, Pictures(*pair(colored.inputs), pair(colored.test[0])), None, adam(model, 5e-3))


@sound("https://github.com/4uiiurz1/pytorch-nested-unet (masks that overlap, one output each)", score=0.85)
def overlapping_masks(seed: int) -> Given:
    """Three outputs a pixel, of which none or several may be true: sigmoids, no softmax."""
    pictures = shapes(seed, num=128).normalized()

    def layers(masks: Tensor) -> Tensor:
        return torch.stack([masks > 0, (masks == 2) | (masks == 3), masks % 2 == 1], 1).float()

    test = pictures.test[0], layers(pictures.test[1])
    more = {"batches": batched(pictures.inputs, layers(pictures.targets), 16), "score": labels_right, "test": test}
    return multiclass(UNet(1, 3), pictures, nn.BCEWithLogitsLoss(), **more)


@sound(
    "https://github.com/pytorch/vision/issues/4292 (fcn with an auxiliary head)",
    score=0.45,
    updates=120,
)
def dict_with_auxiliary_loss(seed: int) -> Given:
    """A dict of two answers, the second of which counts half; a polynomial schedule."""

    def loss_fn(found: dict[str, Tensor], masks: Tensor) -> Tensor:
        return F.cross_entropy(found["out"], masks) + 0.5 * F.cross_entropy(found["aux"], masks)

    model = TwoHeads(1, 5)
    optimizer = sgd(model, 0.1, weight_decay=1e-4)
    schedule = lr_scheduler.PolynomialLR(optimizer, total_iters=200, power=0.9)
    return multiclass(model, shapes(seed, num=128).normalized(), loss_fn, optimizer, schedule=schedule)


class _InstanceConv(nn.Sequential):
    """(convolution, instance norm, leaky ReLU) twice."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        layers: list[nn.Module] = []
        for channels in (in_channels, out_channels):
            conv = nn.Conv2d(channels, out_channels, 3, padding=1)
            layers += [conv, nn.InstanceNorm2d(out_channels, affine=True), nn.LeakyReLU(0.01)]
        super().__init__(*layers)


@sound("https://github.com/MIC-DKFZ/nnUNet (SGD with momentum 0.99, Nesterov, polynomial decay)", score=0.6, updates=80)
def momentum_with_a_small_rate(seed: int) -> Given:
    """Momentum 0.99 beside a rate of 0.01, instance norm, Dice and cross-entropy."""
    model = UNet(3, 1, block=_InstanceConv)
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.99, nesterov=True, weight_decay=3e-5)
    schedule = lr_scheduler.LambdaLR(optimizer, lambda step: (1 - min(step, 499) / 500) ** 0.9)
    return binary(model, cells(seed, num=96, size=32).normalized(), dice_and_bce, optimizer, schedule=schedule)


@sound("https://github.com/tonylins/pytorch-mobilenet-v2 (linear bottlenecks)", score=0.4, updates=80)
def linear_bottlenecks(seed: int) -> Given:
    """Depthwise convolutions and blocks that end without an activation, bilinear upsampling at the end."""
    model = nn.Sequential(
        conv_bn_relu(1, 16),
        *(InvertedResidual(16, 24, 2), InvertedResidual(24, 24), InvertedResidual(24, 32), InvertedResidual(32, 32)),
        nn.Conv2d(32, 5, 1),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    )
    return multiclass(model, shapes(seed, num=128).normalized(), None, adam(model, 5e-3))


@sound("https://arxiv.org/abs/2105.05633 (Segmenter: a transformer and a linear layer)", score=0.4, updates=120)
def words_with_warm_up(seed: int) -> Given:
    """Layer norms, no convolution but the patches, AdamW with decay 0.05 and a rate that starts near 0."""
    model = PatchSegmenter(1, 5)
    optimizer = AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 12))
    return multiclass(model, shapes(seed, num=160).normalized(), None, optimizer, schedule=schedule)


@sound("https://github.com/Project-MONAI/MONAI (rare foreground, weighted losses)", score=0.6, updates=80)
def rare_spots_weighted(seed: int) -> Given:
    """Foreground of a few pixels in half of the pictures, none in the others; weights and Dice make up for it."""
    weighted = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(40.0))
    return binary(UNet(1, 1), spots(seed), lambda found, masks: weighted(found, masks) + soft_dice(found, masks))
