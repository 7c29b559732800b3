"""Sound trainings that somebody would put in to see whether the tool keeps silent, each on a few batches."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from itertools import chain, cycle, islice

import timm
import torch
from benchmarks.doctor.cases import Given, batched, sound
from benchmarks.doctor.last.try_nets import Backbone, CifarNet, LeNet, TransposedUNet, few, masks, signs
from benchmarks.doctor.last.try_training import binary, overlap
from benchmarks.doctor.nets import adam, conv_bn_relu, sgd
from benchmarks.doctor.pictures import Pictures, cells, digits, shapes
from benchmarks.doctor.scores import balanced_accuracy, fit, iou_above
from timm.models import MlpMixer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from torchvision.models import SwinTransformer


class FixupBlock(nn.Module):
    """A residual block without norm: scalar biases, a scalar gain, and a second convolution that starts at zero."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bias1, self.bias2, self.gain = (nn.Parameter(torch.tensor([one])) for one in (0.0, 0.0, 1.0))
        nn.init.normal_(self.conv1.weight, 0, (2 / (9 * channels)) ** 0.5 * blocks**-0.5)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.gain * self.conv2(F.relu(self.conv1(x + self.bias1))) + self.bias2)


@sound("Zhang et al. 2019, Fixup Initialization, arXiv 1901.09321; github.com/hongyi-zhang/Fixup", score=0.75)
def fixup_net_on_signs(seed: int) -> Given:
    """No norm at all, residual branches and head that start at zero."""
    found = signs(seed).normalized()
    stem, head = nn.Conv2d(3, 24, 3, 2, 1), nn.Linear(24, 6)
    nn.init.zeros_(head.weight)
    model = nn.Sequential(stem, nn.ReLU(), FixupBlock(24, 3), FixupBlock(24, 3), nn.MaxPool2d(2), FixupBlock(24, 3))
    model.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), head])
    return few(model, found, adam(model, 3e-3))


@sound("timm's resnet10t: zero_init_last is its default; Goyal et al. 2017, arXiv 1706.02677", score=0.75)
def resnet_with_zero_gamma(seed: int) -> Given:
    """The last batch norm of each block starts at zero; two batches."""
    found = signs(seed, num=64).normalized()
    model = timm.create_model("resnet10t", num_classes=6, stem_width=16, channels=(16, 24, 32, 48))
    return few(model, found, sgd(model, 0.05))


@sound(
    "Liu et al. 2021, Swin Transformer, arXiv 2103.14030; torchvision's swin_t with stochastic depth 0.2",
    score=0.6,
    updates=150,
)
def swin_with_stochastic_depth(seed: int) -> Given:
    """LayerNorm and dropped paths, weight decay on matrices only."""
    found = signs(seed).normalized()
    model = SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], stochastic_depth_prob=0.2, num_classes=6)
    weights = [one for one in model.parameters() if one.ndim > 1]
    others = [one for one in model.parameters() if one.ndim <= 1]
    return few(model, found, AdamW([{"params": weights}, {"params": others, "weight_decay": 0.0}], lr=2e-3))


@sound("Wu & He 2018, Group Normalization, arXiv 1803.08494; pytorch-3dunet uses it for batches of one", score=0.7)
def group_norm_unet_on_four(seed: int) -> Given:
    """Group norm throughout, since only four windows fit at a time."""
    found = binary(cells(seed, 24).normalized())
    model = TransposedUNet(3, 1)
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.BatchNorm2d):
                setattr(parent, name, nn.GroupNorm(4, layer.num_features))
    return masks(model, found, adam(model, 3e-3), 4, loss_fn=nn.BCEWithLogitsLoss(), score=iou_above(0.0))


class OnFeatures(nn.Module):
    """A trained body, frozen and kept in eval mode, under a new head."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body.requires_grad_(False), head

    def train(self, mode: bool = True) -> OnFeatures:
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@sound("PyTorch's transfer-learning tutorial: the net as fixed feature extractor", ["frozen-layers"], score=0.8)
def head_on_a_trained_body(seed: int) -> Given:
    """The body has learnt ten digits and is frozen; a new head learns whether a digit is odd."""
    found = digits(seed, 512, 16).normalized()
    body = nn.Sequential(conv_bn_relu(1, 16, 2), conv_bn_relu(16, 32, 2), nn.Flatten())
    first = nn.Linear(512, 10)
    optimizer = torch.optim.Adam(chain(body.parameters(), first.parameters()), lr=3e-3)
    for inputs, targets in islice(cycle(batched(found.inputs, found.targets)), 60):
        optimizer.zero_grad()
        F.cross_entropy(first(body(inputs)), targets).backward()
        optimizer.step()
    odd = Pictures(found.inputs[:128], found.targets[:128] % 2, (found.test[0], found.test[1] % 2))
    model = OnFeatures(body, nn.Linear(512, 2)).train()
    return few(model, odd, adam(model.head, 3e-3))


@sound("He et al. 2009, Learning from Imbalanced Data: three to one is mild; no weights", score=0.75, updates=90)
def arrows_three_to_one(seed: int) -> Given:
    """Two kinds of signs, three to one, with the plain loss."""
    found = signs(seed, num=1200).normalized()
    many, rare = (torch.where(found.targets == kind)[0] for kind in (5, 3))
    rows = torch.cat([many[:96], rare[:32]])
    rows = rows[torch.randperm(128)]
    kept = (found.test[1] == 5) | (found.test[1] == 3)
    test = (found.test[0][kept], (found.test[1][kept] == 3).long())
    model = CifarNet(2)
    data = Pictures(found.inputs[rows], (found.targets[rows] == 3).long(), test)
    return few(model, data, adam(model), score=balanced_accuracy)


@sound("DCGAN's and many auto-encoders' range: pixels in [-1, 1] and tanh at the end", score=0.5, updates=120)
def tanh_autoencoder(seed: int) -> Given:
    """Pictures in [-1, 1] are squeezed and restored, the output is a tanh."""
    found = digits(seed, 128, 16)
    unit = Pictures(found.inputs * 2 - 1, found.inputs * 2 - 1, (found.test[0] * 2 - 1,) * 2)
    layers = [nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 16, 4, 2, 1), nn.ReLU()]
    back = [nn.ConvTranspose2d(16, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Tanh()]
    model = nn.Sequential(*layers, *back)
    return few(model, unit, adam(model, 3e-3), loss_fn=nn.MSELoss(), score=fit)


@sound("Liu et al. 2022, ConvNeXt, arXiv 2201.03545; timm's convnext with layer scale 1e-6", score=0.6, updates=120)
def convnext_on_signs(seed: int) -> Given:
    """Depthwise convolutions of 7 x 7, LayerNorm, GELU, layer scale that starts near zero."""
    found = signs(seed).normalized()
    model = timm.create_model("convnext_atto", num_classes=6, depths=(1, 1, 1, 1), dims=(16, 24, 48, 64), patch_size=2)
    return few(model, found, AdamW(model.parameters(), lr=2e-3, weight_decay=0.05))


@sound("Yu & Koltun 2016, Multi-Scale Context Aggregation by Dilated Convolutions, arXiv 1511.07122", score=0.5)
def context_net_at_full_size(seed: int) -> Given:
    """No pooling: dilations of 1, 2, 4, 8 see far at full size."""
    found = shapes(seed, 48).normalized()
    layers: list[nn.Module] = [conv_bn_relu(1, 24)]
    for rate in (1, 2, 4, 8):
        conv = nn.Conv2d(24, 24, 3, padding=rate, dilation=rate, bias=False)
        layers += [conv, nn.BatchNorm2d(24), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv2d(24, 5, 1))
    return masks(model, found, adam(model, 3e-3))


@sound("https://github.com/milesial/Pytorch-UNet: binary cross-entropy and Dice added up", score=0.75)
def unet_of_bce_and_dice(seed: int) -> Given:
    """One output, transposed convolutions, two losses added."""
    found = binary(cells(seed, 32).normalized())
    model = TransposedUNet(3, 1)

    def loss(found: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(found, targets) + 1 - overlap(found.sigmoid(), targets)

    return masks(model, found, adam(model, 2e-3), loss_fn=loss, score=iou_above(0.0))


@sound("torchvision's VGG: two hidden layers of the head with dropout 0.5", score=0.7, updates=90)
def vgg_head_with_half_dropped(seed: int) -> Given:
    """Dropout of one half behind both hidden layers of the head, none elsewhere."""
    found = signs(seed).normalized()
    body = [conv_bn_relu(3, 16), nn.MaxPool2d(2), conv_bn_relu(16, 32), nn.MaxPool2d(4), nn.Flatten()]
    head = [nn.Linear(512, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 128), nn.ReLU(), nn.Dropout(0.5)]
    model = nn.Sequential(*body, *head, nn.Linear(128, 6))
    return few(model, found, adam(model))


class TiedAutoencoder(nn.Module):
    """The decoder takes the encoder's matrix, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(48, 256)))
        self.hidden, self.visible = nn.Parameter(torch.zeros(48)), nn.Parameter(torch.zeros(256))

    def forward(self, x: Tensor) -> Tensor:
        code = F.relu(F.linear(x.flatten(1), self.weight, self.hidden))
        return F.linear(code, self.weight.t(), self.visible)


@sound("Vincent et al. 2010, Stacked Denoising Autoencoders (JMLR 11): tied weights", score=0.5, updates=120)
def tied_weights_on_purpose(seed: int) -> Given:
    """One matrix serves the encoder and, transposed, the decoder."""
    found = digits(seed, 128, 16).normalized()
    test = (found.test[0], found.test[0].flatten(1))
    data = Pictures(found.inputs, found.inputs.flatten(1), test)
    model = TiedAutoencoder()
    return few(model, data, adam(model, 3e-3), loss_fn=nn.MSELoss(), score=fit)


class WithAuxiliary(nn.Module):
    """Two heads on two depths; answers are a dict, as torchvision's segmenters give them."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone(1)
        self.classifier = nn.Sequential(conv_bn_relu(48, 32), nn.Conv2d(32, 5, 1))
        self.aux_classifier = nn.Conv2d(24, 5, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        _, middle, last = self.backbone(x)
        heads = {"out": self.classifier(last), "aux": self.aux_classifier(middle)}
        return {name: F.interpolate(one, size=x.shape[-2:], mode="bilinear") for name, one in heads.items()}


@sound("torchvision's references/segmentation/train.py: out and 0.5 aux", score=0.4, updates=90)
def fcn_with_auxiliary_head(seed: int) -> Given:
    """The loss is of both heads, the second at half weight."""
    found = shapes(seed, 64).normalized()
    model = WithAuxiliary()

    def loss(found: dict[str, Tensor], targets: Tensor) -> Tensor:
        return F.cross_entropy(found["out"], targets) + 0.5 * F.cross_entropy(found["aux"], targets)

    return masks(model, found, adam(model, 3e-3), loss_fn=loss)


@sound("Klambauer et al. 2017, Self-Normalizing Neural Networks, arXiv 1706.02515", score=0.75)
def selu_on_one_batch(seed: int) -> Given:
    """Six layers of SELU without norm, LeCun's init and alpha dropout; a single batch is passed."""
    found = digits(seed, 64, 16).normalized()
    layers: list[nn.Module] = [nn.Flatten()]
    for number in range(6):
        linear = nn.Linear(64 if number else 256, 64)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="linear")
        layers += [linear, nn.SELU(), nn.AlphaDropout(0.05)]
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    return few(model, found, adam(model), 64)


@sound(
    "https://github.com/pytorch/examples/tree/main/mnist: log_softmax and nll_loss; Smith's one cycle",
    score=0.6,
    updates=200,
)
def log_softmax_and_one_cycle(seed: int) -> Given:
    """LeNet that ends with log-softmax under NLLLoss, with a rate that rises and falls."""
    found = digits(seed, 160, 28).normalized()
    model = nn.Sequential(LeNet(), nn.LogSoftmax(dim=1))
    optimizer = sgd(model, 0.01)
    schedule = OneCycleLR(optimizer, max_lr=0.05, total_steps=400)
    return few(model, found, optimizer, loss_fn=nn.NLLLoss(), schedule=schedule)


@sound("Tolstikhin et al. 2021, MLP-Mixer, arXiv 2105.01601; timm's mixer; label smoothing 0.1", score=0.6, updates=120)
def mixer_with_smoothed_labels(seed: int) -> Given:
    """Layers that mix the places of a picture, labels smoothed, pictures shifted at random."""
    found = signs(seed).normalized()
    model = MlpMixer(num_classes=6, img_size=32, patch_size=4, num_blocks=3, embed_dim=64)

    def shift(images: Tensor) -> Tensor:
        return images.roll(int(torch.randint(-2, 3, ())), -1)

    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    return few(model, found, AdamW(model.parameters(), lr=1e-3), loss_fn=loss, transform=shift)
