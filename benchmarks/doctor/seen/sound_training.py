"""Sound losses, targets, optimizers and schedules, some of which look odd."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from dataclasses import replace

import torch
from benchmarks.doctor.cases import Given, batched, sound
from benchmarks.doctor.nets import ConvNet, PlainNet, ResNet, UNet, adam, classify, mlp, segment, sgd
from benchmarks.doctor.pictures import Pictures, cells, digits, photos, shapes
from benchmarks.doctor.scores import balanced_accuracy, fit, iou_above, labels_right
from benchmarks.doctor.seen.data_masks import rare_eights, small_shifts
from benchmarks.doctor.seen.outputs import attributes
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR


@sound("https://github.com/pytorch/examples: mnist; a perceptron on digits in [0, 1]")
def mlp_on_digits(seed: int) -> Given:
    model = mlp(256, 10)
    return classify(model, digits(seed), optimizer=sgd(model, 0.1))


@sound("https://docs.pytorch.org/tutorials/beginner/blitz/cifar10_tutorial.html: Normalize(0.5, 0.5)", score=0.35)
def pictures_from_minus_1_to_1(seed: int) -> Given:
    found = photos(seed)
    pictures = Pictures(found.inputs * 2 - 1, found.targets, (found.test[0] * 2 - 1, found.test[1]))
    model = PlainNet(3, 4, 32)
    return classify(model, pictures, optimizer=sgd(model, 0.02))


@sound("common pattern: three samples of one class for one of the other", score=0.7, updates=120)
def mild_imbalance(seed: int) -> Given:
    return classify(ConvNet(1, 2), rare_eights(seed, 4), score=balanced_accuracy)


@sound(
    "King & Zeng 2001, Logistic Regression in Rare Events Data: weights of inverse frequency", score=0.7, updates=120
)
def class_weights_the_right_way_round(seed: int) -> Given:
    pictures = rare_eights(seed, 8)
    counts = torch.bincount(pictures.targets).float()
    loss = nn.CrossEntropyLoss(weight=counts.sum() / (2 * counts))
    return classify(ConvNet(1, 2), pictures, loss, score=balanced_accuracy)


@sound("Szegedy et al. 2016, Rethinking the Inception Architecture (arXiv 1512.00567): label smoothing")
def label_smoothing(seed: int) -> Given:
    model = ConvNet(1, 10)
    return classify(model, digits(seed), nn.CrossEntropyLoss(label_smoothing=0.1), sgd(model))


@sound("common pattern: gradients of four batches are added up, so that the loss is divided by four")
def accumulated_gradients(seed: int) -> Given:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels) / 4

    model = ConvNet(1, 10)
    return classify(model, digits(seed), loss, sgd(model, 0.1))


@sound("Liu et al. 2022, A ConvNet for the 2020s (arXiv 2201.03545): AdamW with a decay of 0.05")
def adamw_with_its_usual_decay(seed: int) -> Given:
    model = ResNet(1, 10)
    optimizer = AdamW(model.parameters(), 2e-3, weight_decay=0.05)
    return classify(model, digits(seed), optimizer=optimizer)


@sound("He et al. 2015, Deep Residual Learning (arXiv 1512.03385): SGD at 0.1 with momentum and decay")
def sgd_at_a_tenth_with_batch_norm(seed: int) -> Given:
    model = ResNet(1, 10)
    return classify(model, digits(seed), optimizer=sgd(model, 0.1, nesterov=True, weight_decay=5e-4))


@sound("Goyal et al. 2017, Accurate, Large Minibatch SGD (arXiv 1706.02677): warm-up from a thousandth of the rate")
def warm_up_from_a_thousandth(seed: int) -> Given:
    model = ResNet(1, 10)
    optimizer = sgd(model, 0.1)
    parts = [LinearLR(optimizer, 1e-3, total_iters=15), CosineAnnealingLR(optimizer, 45)]
    return classify(model, digits(seed), optimizer=optimizer, schedule=SequentialLR(optimizer, parts, [15]))


@sound("https://github.com/MIC-DKFZ/nnUNet/issues/260 (the loss is negative: cross-entropy minus Dice)", score=0.6)
def negative_dice_plus_cross_entropy(seed: int) -> Given:
    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        probs = logits.softmax(1)[:, 1]
        dice = (2 * (probs * masks).sum() + 1e-5) / (probs.sum() + masks.sum() + 1e-5)
        return F.cross_entropy(logits, masks) - dice

    return segment(UNet(3, 2), cells(seed).normalized(), loss)


@sound("https://github.com/pytorch/examples: mnist, log_softmax and nll_loss")
def log_softmax_and_nll(seed: int) -> Given:
    model = nn.Sequential(ConvNet(1, 10), nn.LogSoftmax(dim=1))
    return classify(model, digits(seed), nn.NLLLoss(), sgd(model))


class ProbabilitiesInUse(ConvNet):
    """Logits while training, probabilities in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return logits if self.training else logits.softmax(1)


@sound("common pattern: softmax in eval mode only")
def softmax_in_eval_mode_only(seed: int) -> Given:
    model = ProbabilitiesInUse(1, 10)
    return classify(model, digits(seed), optimizer=sgd(model))


@sound("common pattern: sigmoid in the net and BCELoss, which belong together", score=0.6)
def sigmoid_and_plain_bce(seed: int) -> Given:
    found = cells(seed).normalized()
    pictures = replace(found, targets=found.targets[:, None].float())
    return segment(nn.Sequential(UNet(3, 1), nn.Sigmoid()), pictures, nn.BCELoss(), score=iou_above(0.5))


@sound(
    "https://www.cityscapes-dataset.com: borders of objects have the label 255, which is ignored",
    score=0.3,
    updates=160,
)
def borders_are_ignored(seed: int) -> Given:
    found = shapes(seed, num=192).normalized()
    number = found.targets[:, None].float()
    edge = F.max_pool2d(number, 3, 1, 1) != -F.max_pool2d(-number, 3, 1, 1)
    pictures = replace(found, targets=torch.where(edge[:, 0], 255, found.targets))
    return segment(UNet(1, 5), pictures, nn.CrossEntropyLoss(ignore_index=255))


@sound("Lin et al. 2017, Focal Loss (arXiv 1708.02002)", score=0.6)
def focal_loss(seed: int) -> Given:
    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        each = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
        return (5 * (1 - (-each).exp()) ** 2 * each).mean()

    found = cells(seed).normalized()
    pictures = replace(found, targets=found.targets[:, None].float())
    return segment(UNet(3, 1), pictures, loss, score=iou_above(0.0))


@sound("common pattern: several labels a picture, a sigmoid for each", score=0.7)
def several_labels(seed: int) -> Given:
    model = ConvNet(1, 3)
    return classify(model, attributes(seed), nn.BCEWithLogitsLoss(), sgd(model), score=labels_right)


@sound(
    "Hinton & Salakhutdinov 2006, Reducing the Dimensionality of Data: an autoencoder with squared error",
    score=0.2,
    updates=120,
)
def autoencoder(seed: int) -> Given:
    found = digits(seed)
    pictures = Pictures(found.inputs, found.inputs, (found.test[0], found.test[0]))
    encode = [nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 8, 3, 2, 1), nn.ReLU()]
    decode = [nn.ConvTranspose2d(8, 16, 2, 2), nn.ReLU(), nn.ConvTranspose2d(16, 1, 2, 2)]
    model = nn.Sequential(*encode, *decode)
    return classify(model, pictures, nn.MSELoss(), adam(model, 5e-3), score=fit)


@sound("Hinton et al. 2015, Distilling the Knowledge (arXiv 1503.02531): targets are a teacher's probabilities")
def soft_targets(seed: int) -> Given:
    found = digits(seed)
    teacher = 0.9 * F.one_hot(found.targets, 10).float() + 0.1 * torch.rand(len(found.targets), 10) / 5
    pictures = replace(found, targets=teacher / teacher.sum(1, keepdim=True))
    model = ConvNet(1, 10)
    return classify(model, pictures, optimizer=sgd(model))


@sound("common pattern: the sum over pixels, divided by the number of pictures and of pixels", score=0.6)
def sum_divided_by_its_number(seed: int) -> Given:
    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        return F.cross_entropy(logits, masks, reduction="sum") / masks.numel()

    return segment(UNet(3, 2), cells(seed).normalized(), loss)


@sound("He et al. 2019, Bag of Tricks (arXiv 1812.01187): no decay of biases and norms")
def groups_without_decay(seed: int) -> Given:
    model = ResNet(1, 10)
    weights = [one for one in model.parameters() if one.ndim > 1]
    others = [one for one in model.parameters() if one.ndim <= 1]
    groups = [{"params": weights, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    return classify(model, digits(seed), optimizer=AdamW(groups, 2e-3))


@sound("common pattern: small shifts as augmentation, a validation set of other pictures, a cosine schedule")
def all_arguments_given(seed: int) -> Given:
    pictures, model = digits(seed), ConvNet(1, 10)
    optimizer = sgd(model)
    schedule = CosineAnnealingLR(optimizer, 60)
    more = {"transform": small_shifts, "val_batches": batched(*pictures.test), "schedule": schedule}
    return classify(model, pictures, optimizer=optimizer, **more)


class DeepSupervision(UNet):
    """Logits at full and at half size."""

    def __init__(self) -> None:
        super().__init__(3, 2)
        self.coarse = nn.Conv2d(16, 2, 1)

    def decode(self, x1: Tensor, x2: Tensor, x3: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x = self.up1(torch.cat([x2, self.up(x3)], 1))
        return self.outc(self.up2(torch.cat([x1, self.up(x)], 1))), self.coarse(x)


@sound("Zhou et al. 2018, UNet++ (arXiv 1807.10165): deep supervision, a tuple of answers", score=0.6)
def deep_supervision(seed: int) -> Given:
    def loss(found: tuple[Tensor, Tensor], masks: Tensor) -> Tensor:
        full, half = found
        return F.cross_entropy(full, masks) + 0.4 * F.cross_entropy(half, masks[:, ::2, ::2])

    return segment(DeepSupervision(), cells(seed).normalized(), loss)  # type: ignore[arg-type]
