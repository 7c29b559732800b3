"""Sound set-ups with library models and trained bodies that look odd to a simple rule."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import timm
import torch
from benchmarks.doctor.cases import Given, sound
from benchmarks.doctor.fresh.seg_shared import digits_from, multiclass, pretrained
from benchmarks.doctor.libraries import colored, precise
from benchmarks.doctor.nets import ResNet, adam, classify
from benchmarks.doctor.pictures import Pictures, digits, shapes
from benchmarks.doctor.scores import mean_iou
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, AdamW, lr_scheduler
from torchvision.models.segmentation import lraspp_mobilenet_v3_large


class _HeadOnly(nn.Module):
    """A trained body that stays in eval mode whatever mode is set, and a new head."""

    def __init__(self, body: ResNet, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(body.fc.in_features, num_classes)
        body.fc = nn.Identity()  # type: ignore[assignment]
        self.body = body.requires_grad_(False)

    def train(self, mode: bool = True) -> _HeadOnly:
        super().train(mode)
        self.body.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.body(x)
        return self.head(features)


@sound("https://github.com/kdexd/virtex (linear evaluation of a frozen body in eval mode)", score=0.6, updates=150)
def linear_head_on_a_trained_body(seed: int) -> Given:
    """The body is frozen, in eval mode and without gradients on purpose; its weights are trained."""
    model = _HeadOnly(pretrained(), 5).train()
    return classify(model, digits_from(5, seed), None, adam(model.head, 1e-2))


@sound("https://docs.fast.ai/callback.schedule.html (discriminative rates after a new head)", score=0.6)
def body_slower_than_head(seed: int) -> Given:
    """A trained body at a hundredth of the rate of its new head, in groups, with one cycle of rates."""
    model = pretrained()
    model.fc = nn.Linear(model.fc.in_features, 5)
    body = [one for name, one in model.named_parameters() if not name.startswith("fc.")]
    optimizer = Adam([{"params": body, "lr": 1e-4}, {"params": model.fc.parameters(), "lr": 1e-2}])
    schedule = lr_scheduler.OneCycleLR(optimizer, max_lr=[2e-4, 1e-2], total_steps=4000, pct_start=0.01)
    return classify(model, digits_from(5, seed), None, optimizer, schedule=schedule)


@sound(
    "https://github.com/facebookresearch/deit (layer scale, stochastic depth, groups)",
    score=0.5,
    updates=100,
)
def transformer_with_layer_scale(seed: int) -> Given:
    """Layer scale of 1e-4, a zero head bias, stochastic depth, decay 0.05 for matrices only, warm-up and cosine."""
    model = timm.create_model(
        "test_vit", pretrained=False, img_size=16, patch_size=4, num_classes=10, in_chans=1, init_values=1e-4,
        drop_path_rate=0.1, depth=4,
    )  # fmt: skip
    plain = [one for one in model.parameters() if one.ndim < 2]
    matrices = [one for one in model.parameters() if one.ndim >= 2]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": matrices, "weight_decay": 0.05}]
    optimizer = AdamW(groups, lr=2e-3)
    warm = lr_scheduler.LinearLR(optimizer, 0.05, total_iters=10)
    cosine = lr_scheduler.CosineAnnealingLR(optimizer, 400)
    schedule = lr_scheduler.SequentialLR(optimizer, [warm, cosine], [10])
    return classify(model, digits(seed).normalized(), None, optimizer, schedule=schedule)


@sound("https://github.com/facebookresearch/ConvNeXt (7 x 7 depthwise, layer norm, GELU)", score=0.5, updates=80)
def convnext_on_small_pictures(seed: int) -> Given:
    """Layer scale of 1e-6, few activations, layer norms between stages; the stem has a stride of 1 for small inputs."""
    model = timm.create_model(
        "test_convnext2", pretrained=False, num_classes=10, in_chans=1, patch_size=1, stem_type="patch"
    )
    return classify(
        model, digits(seed).normalized(), nn.CrossEntropyLoss(label_smoothing=0.1), AdamW(model.parameters(), 4e-3)
    )


@sound("https://arxiv.org/abs/2102.06171 (NFNet: no normalisation, scaled weights)", score=0.5, updates=80)
def net_without_norms(seed: int) -> Given:
    """No batch norm at all; weights are standardised in each pass, and branches start with a gain of 0."""
    model = timm.create_model("test_nfnet", pretrained=False, num_classes=10, in_chans=1)
    pictures = digits(seed, size=32).normalized()
    return classify(model, pictures, None, AdamW(model.parameters(), 2e-3))


@sound("https://docs.pytorch.org/vision/stable/models/lraspp.html (dict output)", score=0.3, updates=40)
def lraspp_from_torchvision(seed: int) -> Given:
    """Torchvision's LR-ASPP from scratch: a dict of one answer, squeeze and excitation, hard swish."""
    model = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)
    pictures = shapes(seed, num=96, size=64, sides=(8, 16)).normalized()
    given = Pictures(colored(pictures.inputs), pictures.targets, (colored(pictures.test[0]), pictures.test[1]))

    def loss_fn(found: dict[str, Tensor], masks: Tensor) -> Tensor:
        return F.cross_entropy(found["out"], masks)

    return multiclass(model, given, loss_fn, adam(model, 2e-3), score=precise(mean_iou))
