"""Sound nets of unusual losses and targets: regression, several labels, auto-encoders, embeddings."""

# N batch, C channels, H W pixels, K classes, D size of an embedding

from __future__ import annotations

from dataclasses import replace

import torch
from benchmarks.doctor.cases import Batch, Given, evaluating, sound
from benchmarks.doctor.fresh.cls_makers import Samples, fruits, given, slopes, tags
from benchmarks.doctor.nets import ConvNet, PlainNet, adam, classify, mlp
from benchmarks.doctor.pictures import Pictures, digits
from benchmarks.doctor.scores import fit, labels_right, outputs
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW


class _Variational(nn.Module):
    """The variational auto-encoder of torch's examples, with a code of 12."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.mean, self.log_var = nn.Linear(256, 128), nn.Linear(128, 12), nn.Linear(128, 12)
        self.fc3, self.fc4 = nn.Linear(12, 128), nn.Linear(128, 256)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = F.relu(self.fc1(x.flatten(1)))
        mean, log_var = self.mean(hidden), self.log_var(hidden)
        noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        code = mean + noise * (log_var / 2).exp()
        return torch.sigmoid(self.fc4(F.relu(self.fc3(code)))).reshape(x.shape), mean, log_var


def _elbo(outs: tuple[Tensor, Tensor, Tensor], targets: Tensor) -> Tensor:
    found, mean, log_var = outs
    likely = F.binary_cross_entropy(found, targets, reduction="sum")
    return likely - 0.5 * (1 + log_var - mean.square() - log_var.exp()).sum()


@sound("pytorch/examples, vae/main.py", allowed=["loss-reduction-sum"], score=0.4, updates=200)
def variational_sum_with_adam(seed: int) -> Given:
    """A loss that is summed over pictures and pixels, under Adam, whose steps do not grow with it."""
    pictures, model = digits(seed), _Variational()
    data = Samples(pictures.inputs, pictures.inputs, (pictures.test[0], pictures.test[0]))
    return replace(given(model, data, _elbo, adam(model, 2e-3)), score=fit)


class _Tied(nn.Module):
    """An auto-encoder whose decoder is the encoder's weight, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(32, 256) / 16)
        self.down, self.up = nn.Parameter(torch.zeros(32)), nn.Parameter(torch.zeros(256))

    def forward(self, x: Tensor) -> Tensor:
        code = F.elu(F.linear(x.flatten(1), self.weight, self.down))
        return F.linear(code, self.weight.t(), self.up).reshape(x.shape)


@sound("Vincent et al. 2010, stacked denoising auto-encoders: tied weights", score=0.5, updates=150)
def tied_denoiser(seed: int) -> Given:
    """Noisy pictures in, clean ones out; one matrix for both ways."""
    pictures, model = digits(seed), _Tied()
    noisy = pictures.inputs + 0.2 * torch.randn_like(pictures.inputs)
    data = Samples(noisy, pictures.inputs, (pictures.test[0], pictures.test[0]))
    return replace(given(model, data, nn.MSELoss(), adam(model, 5e-3)), score=fit)


def _soft(outs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outs, targets, label_smoothing=0.1)


@sound("Zhang et al. 2018, mixup: soft targets", score=0.75, updates=100)
def mixed_pictures_and_labels(seed: int) -> Given:
    """Batches are mixed in pairs beforehand; targets are shares of classes N K."""
    pictures = digits(seed).normalized()
    order, share = torch.randperm(len(pictures.inputs)), torch.distributions.Beta(0.4, 0.4).sample((512,))
    hot = F.one_hot(pictures.targets, 10).float()
    inputs = torch.lerp(pictures.inputs[order], pictures.inputs, share[:, None, None, None])
    data = Samples(inputs, torch.lerp(hot[order], hot, share[:, None]), pictures.test)
    return given(ConvNet(1, 10), data, _soft)


class _LogProbs(nn.Module):
    """A net that ends in a log-softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.net = PlainNet(1, 10, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).log_softmax(1)


@sound("DSKSD/DeepNLP-models-Pytorch issue 2: log-softmax before cross-entropy changes nothing", score=0.8, updates=100)
def log_probabilities_into_cross_entropy(seed: int) -> Given:
    """The log-softmax of log-probabilities is the same again."""
    model = _LogProbs()
    return classify(model, digits(seed).normalized(), optimizer=adam(model, 2e-3))


def _gaussian(outs: Tensor, targets: Tensor) -> Tensor:
    return F.gaussian_nll_loss(outs[:, 0], targets, F.softplus(outs[:, 1]) + 1e-3)


def _mean_fits(model: nn.Module, test: Batch) -> float:
    error = (outputs(model, test[0])[:, 0] - test[1]).square().mean()
    return float(1 - error / test[1].var())


@sound("Nix & Weigend 1994: mean and variance of a target", score=0.5, updates=350)
def mean_and_variance(seed: int) -> Given:
    """Two outputs for one target; the loss falls below zero."""
    data, model = slopes(seed), mlp(6, 2)
    small = data._replace(targets=data.targets * 0.2, test=(data.test[0], data.test[1] * 0.2))
    return replace(given(model, small, _gaussian), score=_mean_fits)


class _Rates(nn.Module):
    """Counts are answered by a rate, which a softplus keeps above zero."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 24, 5, 2, 2), nn.GELU(), nn.Conv2d(24, 24, 3, 2, 1), nn.GELU())
        self.head = nn.Linear(24, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(self.head(self.body(x).sum((2, 3)) / 4)).flatten()


@sound("torch.nn.PoissonNLLLoss(log_input=False)", score=0.4, updates=150)
def counts_above_zero(seed: int) -> Given:
    """How many colors there are, by the likelihood of a Poisson distribution: the last layer has to have a softplus."""
    data = tags(seed)
    counted = data._replace(targets=data.targets.sum(1), test=(data.test[0], data.test[1].sum(1)))
    return replace(given(_Rates(), counted, nn.PoissonNLLLoss(log_input=False)), score=fit)


@sound("common practice: rare labels, prior in the last bias", allowed=["class-imbalance"], score=0.93, updates=120)
def rare_tags_with_a_prior(seed: int) -> Given:
    """Each label is there in 6 of 100 pictures; the last bias starts at its log-odds."""
    model = ConvNet(3, 4)
    nn.init.constant_(model.fc.bias, -2.75)
    nn.init.normal_(model.fc.weight, std=0.01)
    data = tags(seed, p=0.06)
    loss_fn = nn.BCEWithLogitsLoss(pos_weight=torch.full((4,), 3.0))
    return replace(given(model, data, loss_fn), score=labels_right)


def _contrast(outs: Tensor, targets: Tensor) -> Tensor:
    """Return the supervised contrastive loss at temperature 0.2."""
    same = targets[:, None] == targets[None]
    others = ~torch.eye(len(targets), dtype=torch.bool)
    likeness = (outs @ outs.T / 0.2).masked_fill(~others, -1e9).log_softmax(1)
    pairs = same & others
    return -(likeness * pairs).sum() / pairs.sum().clamp(min=1)


class _Unit(nn.Module):
    """Unit embeddings N 24."""

    def __init__(self) -> None:
        super().__init__()
        self.body = ConvNet(1, 24)

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.body(x), dim=1)


def _by_neighbour(model: nn.Module, test: Batch) -> float:
    """Return the share of samples whose nearest other sample is of their class."""
    with evaluating(model):
        found = model(test[0])
    likeness = (found @ found.T).fill_diagonal_(-1)
    return float((test[1][likeness.argmax(1)] == test[1]).float().mean())


@sound("Khosla et al. 2020, supervised contrastive learning", score=0.85, updates=80)
def contrast_within_the_batch(seed: int) -> Given:
    """The loss compares the samples of a batch with each other; no head, no logits."""
    model = _Unit()
    return classify(model, digits(seed).normalized(), _contrast, adam(model, 3e-3), score=_by_neighbour)


class _Ordinal(nn.Module):
    """One score and nine thresholds: outputs N 9 differ by constants only."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp(6, 1)
        self.cuts = nn.Parameter(torch.linspace(1.5, -1.5, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.cuts


@sound("Cao, Mirjalili & Raschka 2020, CORAL: ordered classes", score=0.8, updates=200)
def ordered_classes_with_one_weight(seed: int) -> Given:
    """Grades as five yes-or-no questions that share their weights."""
    data = slopes(seed)
    cuts = torch.linspace(-1.5, 1.5, 5)
    test = (data.test[0], (data.test[1][:, None] > cuts).float())
    graded = Samples(data.inputs, (data.targets[:, None] > cuts).float(), test)
    return replace(given(_Ordinal(), graded, nn.BCEWithLogitsLoss()), score=labels_right)


@sound("common practice: a fifth of the labels is wrong, and it is learnt all the same", score=0.85, updates=120)
def noisy_labels(seed: int) -> Given:
    """Labels from the web: a fifth of them says any class."""
    pictures = fruits(seed, num=768).normalized()
    wrong = torch.rand(len(pictures.targets)) < 0.2
    labels = torch.where(wrong, torch.randint(4, pictures.targets.shape), pictures.targets)
    model = ConvNet(3, 4)
    optimizer = AdamW(model.parameters(), 3e-3, weight_decay=0.05)
    return classify(model, Pictures(pictures.inputs, labels, pictures.test), optimizer=optimizer)
