"""Faults where the last layer meets the loss."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from dataclasses import replace

import torch
from benchmarks.doctor.cases import Given, fault
from benchmarks.doctor.nets import ConvNet, PlainNet, ResNet, UNet, classify, mlp, segment, sgd
from benchmarks.doctor.pictures import Pictures, cells, digits, photos, shapes
from benchmarks.doctor.scores import accuracy_in_batches, iou_above, labels_right, mean_iou
from torch import Tensor, nn
from torch.nn import functional as F

BOTH = {"softmax-before-ce", "nll-without-logsoftmax"}


class Ending(nn.Module):
    """A net with something behind it, called in `forward` as a function."""

    def __init__(self, net: nn.Module, function: object) -> None:
        super().__init__()
        self.net, self.function = net, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.net(x))  # type: ignore[operator]


class SoftmaxResNet(ResNet):
    """Probabilities from `forward`."""

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(super().forward(x), dim=1)


@fault(
    "https://github.com/Graylab/DL4Proteins-notebooks/issues/13 (F.softmax in forward, CrossEntropyLoss outside)",
    "softmax-before-ce",
    updates=80,
)
def softmax_in_forward_of_resnet(seed: int, faulty: bool) -> Given:
    model = (SoftmaxResNet if faulty else ResNet)(1, 10)
    return classify(model, digits(seed), optimizer=sgd(model, 0.02))


@fault(
    "https://github.com/vinhkhuc/PyTorch-Mini-Tutorials/issues/1 (nn.Softmax as the last of a Sequential)",
    "softmax-before-ce",
)
def softmax_as_last_layer_of_mlp(seed: int, faulty: bool) -> Given:
    model = mlp(256, 10)
    if faulty:
        model.append(nn.Softmax(dim=1))
    return classify(model, digits(seed), optimizer=sgd(model, 0.05))


class SoftmaxUNet(UNet):
    """Probabilities over classes for every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(super().forward(x), 1)


@fault(
    "https://github.com/CoinCheung/pytorch-loss/issues/10 (an activation that the loss has already), here of a U-Net",
    "softmax-before-ce",
    updates=80,
)
def softmax_in_unet(seed: int, faulty: bool) -> Given:
    return segment((SoftmaxUNet if faulty else UNet)(1, 5), shapes(seed).normalized())


class SigmoidUNet(UNet):
    """Probabilities of the foreground."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(super().forward(x))


@fault(
    "https://github.com/hustvl/YOLOP/issues/117 (sigmoid of the head, then BCEWithLogitsLoss)",
    "sigmoid-before-bce-logits",
)
def sigmoid_in_unet(seed: int, faulty: bool) -> Given:
    pictures = cells(seed).normalized()
    pictures = replace(pictures, targets=pictures.targets[:, None].float())
    model = (SigmoidUNet if faulty else UNet)(3, 1)
    return segment(model, pictures, nn.BCEWithLogitsLoss(), sgd(model), score=iou_above(0.5 if faulty else 0.0))


def attributes(seed: int) -> Pictures:
    """Return digits with three labels each: even, above four, round (0, 6, 8, 9)."""
    pictures = digits(seed)

    def labels(numbers: Tensor) -> Tensor:
        loops = (numbers[:, None] == torch.tensor([0, 6, 8, 9])).any(1)
        return torch.stack([numbers % 2 == 0, numbers > 4, loops], 1).float()

    return Pictures(pictures.inputs, labels(pictures.targets), (pictures.test[0], labels(pictures.test[1])))


def _labels_above_half(model: nn.Module, test: tuple[Tensor, Tensor]) -> float:
    return labels_right(Ending(model, torch.logit).train(model.training), test)


@fault(
    "https://github.com/yudi-mars/daisyRec/pull/15 (sigmoid before BCEWithLogitsLoss: it does not converge)",
    "sigmoid-before-bce-logits",
)
def sigmoid_of_several_labels(seed: int, faulty: bool) -> Given:
    model = nn.Sequential(ConvNet(1, 3), *([nn.Sigmoid()] if faulty else []))
    score = _labels_above_half if faulty else labels_right
    return classify(model, attributes(seed), nn.BCEWithLogitsLoss(), sgd(model, 0.02), score=score)


@fault(
    "https://github.com/yanx27/Pointnet_Pointnet2_pytorch/issues/30 (nll_loss of raw scores: the loss is negative)",
    "nll-without-logsoftmax",
)
def nll_of_raw_scores(seed: int, faulty: bool) -> Given:
    model = ConvNet(1, 10)
    ended = model if faulty else nn.Sequential(model, nn.LogSoftmax(1))
    return classify(ended, digits(seed), nn.NLLLoss())


@fault(
    "https://github.com/midas-research/man-sf-emnlp/issues/2 (F.softmax where F.log_softmax was meant)",
    "nll-without-logsoftmax",
    allowed={"softmax-before-ce"},
)
def nll_of_probabilities(seed: int, faulty: bool) -> Given:
    def end(x: Tensor) -> Tensor:
        return F.softmax(x, 1) if faulty else F.log_softmax(x, 1)

    model = Ending(mlp(256, 10), end)
    return classify(model, digits(seed), F.nll_loss, sgd(model, 0.1))


class ReluHead(PlainNet):
    """F.relu on every linear layer, the last one too."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc2(self.hidden(x)))


@fault(
    "https://github.com/hunkim/PyTorchZeroToAll/pull/4 (ReLU in the final layer)",
    "activation-on-logits",
    allowed={"dead-relu"},
    updates=80,
)
def relu_on_logits_of_cnn(seed: int, faulty: bool) -> Given:
    model = (ReluHead if faulty else PlainNet)(1, 10, 16)
    return classify(model, digits(seed), optimizer=sgd(model, 0.05))


@fault(
    "https://github.com/Abe404/segmentation_of_roots_in_soil_with_unet/pull/11 (convolution and ReLU as output)",
    "activation-on-logits",
    allowed={"dead-relu"},
    updates=80,
)
def relu_on_output_of_unet(seed: int, faulty: bool) -> Given:
    model = UNet(1, 5)
    if faulty:
        model.outc = nn.Sequential(model.outc, nn.ReLU())
    return segment(model, shapes(seed).normalized())


@fault(
    "common pattern: tanh behind the last layer, as all hidden layers have it", "activation-on-logits", harm="static"
)
def tanh_on_logits(seed: int, faulty: bool) -> Given:
    """Between -1 and 1 the best of ten gets a share of 45 % at most; it is the right one all the same."""
    hidden = nn.Sequential(nn.Flatten(), nn.Linear(256, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
    model = hidden.append(nn.Tanh()) if faulty else hidden
    return classify(model, digits(seed), optimizer=sgd(model, 0.1))


@fault(
    "https://github.com/fxia22/pointnet.pytorch/issues/27 (log_softmax over dimension 0, the batch)",
    "softmax-wrong-dim",
    allowed={"batch-mixing"},
    updates=80,
)
def log_softmax_over_the_batch(seed: int, faulty: bool) -> Given:
    """Scores of whole batches are learnt; of a picture that comes alone all scores are equal."""
    model = nn.Sequential(ConvNet(1, 10), nn.LogSoftmax(dim=0 if faulty else 1))
    return classify(model, digits(seed), nn.NLLLoss(), score=accuracy_in_batches(1))


@fault(
    "https://github.com/DeepReinforcementLearning/DeepReinforcementLearningInAction/issues/32 (softmax with dim=0)",
    "softmax-wrong-dim",
    allowed={"batch-mixing", *BOTH},
    updates=80,
)
def softmax_over_the_batch_and_log(seed: int, faulty: bool) -> Given:
    def end(x: Tensor) -> Tensor:
        return (F.softmax(x, dim=0 if faulty else 1) + 1e-8).log()

    model = Ending(mlp(256, 10), end)
    return classify(model, digits(seed), F.nll_loss, sgd(model, 0.1), score=accuracy_in_batches(1))


def _class_dice(probs: Tensor, masks: Tensor) -> Tensor:
    wanted = F.one_hot(masks, probs.shape[1]).permute(0, 3, 1, 2)
    both = (probs * wanted).sum((0, 2, 3))
    return 1 - ((2 * both + 1) / (probs.sum((0, 2, 3)) + wanted.sum((0, 2, 3)) + 1)).mean()


@fault(
    "https://github.com/ctallec/world-models/issues/10 (softmax over a wrong dimension), here of pixels",
    "softmax-wrong-dim",
    updates=80,
)
def softmax_over_a_picture_row(seed: int, faulty: bool) -> Given:
    def end(x: Tensor) -> Tensor:
        return F.softmax(x, dim=-1 if faulty else 1)

    return segment(Ending(UNet(1, 5), end), shapes(seed).normalized(), _class_dice)


@fault(
    "https://github.com/jakeret/tf_unet/issues/15 (Dice of logits, not of probabilities)", "dice-on-logits", updates=80
)
def class_dice_of_logits(seed: int, faulty: bool) -> Given:
    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        return _class_dice(logits if faulty else logits.softmax(1), masks)

    return segment(UNet(1, 5), shapes(seed).normalized(), loss)


class DiceLoss(nn.Module):
    """1 - Dice of one foreground class."""

    def __init__(self, apply_sigmoid: bool) -> None:
        super().__init__()
        self.apply_sigmoid = apply_sigmoid

    def forward(self, found: Tensor, masks: Tensor) -> Tensor:
        found = found.sigmoid() if self.apply_sigmoid else found
        both = (found * masks).sum()
        return 1 - (2 * both + 1) / (found.sum() + masks.sum() + 1)


@fault(
    "https://github.com/MIC-DKFZ/nnUNet/issues/108 (what Dice of logits would be: a weird loss)",
    "dice-on-logits",
    allowed={"loss-sign"},
)
def binary_dice_of_logits(seed: int, faulty: bool) -> Given:
    pictures = cells(seed).normalized()
    pictures = replace(pictures, targets=pictures.targets[:, None].float())
    return segment(UNet(3, 1), pictures, DiceLoss(not faulty), score=iou_above(0.0))


def _dice(logits: Tensor, masks: Tensor) -> Tensor:
    probs = logits.softmax(1)[:, 1]
    return (2 * (probs * masks).sum() + 1) / (probs.sum() + masks.sum() + 1)


@fault(
    "https://github.com/IAmSuyogJadhav/3d-mri-brain-tumor-segmentation-using-autoencoder-regularization/issues/7 "
    "(the Dice score itself is minimised)",
    "loss-sign",
)
def dice_score_is_minimised(seed: int, faulty: bool) -> Given:
    def loss(logits: Tensor, masks: Tensor) -> Tensor:
        return _dice(logits, masks) if faulty else 1 - _dice(logits, masks)

    return segment(UNet(3, 2), cells(seed).normalized(), loss, score=mean_iou)


@fault("common pattern: a log-likelihood of one's own without its minus", "loss-sign")
def likelihood_without_minus(seed: int, faulty: bool) -> Given:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        likelihood = logits.log_softmax(1).gather(1, labels[:, None]).mean()
        return likelihood if faulty else -likelihood

    return classify(ConvNet(3, 4), photos(seed).normalized(), loss)


@fault(
    "https://github.com/ai-safety-foundation/sparse_autoencoder/issues/63 (sum over the batch), here of pixels",
    "loss-reduction-sum",
    allowed={"lr-too-high"},
)
def sum_over_pixels(seed: int, faulty: bool) -> Given:
    model = UNet(3, 2)
    loss = nn.CrossEntropyLoss(reduction="sum" if faulty else "mean")
    return segment(model, cells(seed).normalized(), loss, sgd(model, 0.05))


@fault(
    "https://github.com/jax-ml/jax/pull/3113 (np.sum of the loss: exploding for larger batches)",
    "loss-reduction-sum",
    allowed={"lr-too-high", "dead-relu"},
)
def sum_over_the_batch(seed: int, faulty: bool) -> Given:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        each = F.cross_entropy(logits, labels, reduction="none")
        return each.sum() if faulty else each.mean()

    model = PlainNet(1, 10, 16)
    return classify(model, digits(seed), loss, sgd(model, 0.05))
