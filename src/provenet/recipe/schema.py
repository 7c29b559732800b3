"""The recipe: every choice of a training, written out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import StringConstraints, field_validator, model_validator

from provenet.core.files import canonical, sha256
from provenet.core.spec import Spec
from provenet.data.options import DataOptions, View
from provenet.recipe.nets_spec import Net, ResNet, Task
from provenet.recipe.text import write
from provenet.recipe.tree import BUDGETS
from provenet.techniques.activation import Activation, ReLU
from provenet.techniques.augment import Augment
from provenet.techniques.average import EMA, Average
from provenet.techniques.block import Block, ResidualBlock
from provenet.techniques.dropout import Dropouts, NoDropout
from provenet.techniques.init import He, Init
from provenet.techniques.inputs import Inputs, Standardize
from provenet.techniques.loss import CrossEntropy, Loss
from provenet.techniques.norm import BatchNorm, Norm
from provenet.techniques.optimizer import SGD, Optimizer
from provenet.techniques.schedule import Cosine, Schedule
from provenet.techniques.skip import Concat, Skip
from provenet.techniques.transfer import NoTransfer, Transfer
from provenet.techniques.upsample import Bilinear, Upsample

Count = Annotated[int, Ge(1)]
Amount = Annotated[float, Gt(0)]
Device = Annotated[str, StringConstraints(pattern=r"^(cpu|cuda|cuda:[0-9]{1,3})$")]
_WORDS = {"yes": True, "on": True, "no": False, "off": False, "none": False}


class Recipe(Spec):
    """Every choice of a training. Frozen; its `identity` names the run.

    Example:
        >>> Recipe(minutes=5).epochs is None, Recipe().net.name
        (True, 'resnet')
    """

    task: Task = "classification"
    """What is learnt: a class for each image, or a class for each pixel."""
    data: DataOptions = DataOptions()
    """How the data are read, checked and split."""
    view: View = View()
    """What the net sees of a picture."""
    net: Net = ResNet()
    """The network."""
    init: Init = He()
    """How weights begin."""
    inputs: Inputs = Standardize()
    """How pixel values are normalised."""
    norm: Norm = BatchNorm()
    """The normalisation layers."""
    activation: Activation = ReLU()
    """The activation functions."""
    block: Block = ResidualBlock()
    """The blocks that deep nets are made of."""
    dropout: Dropouts = NoDropout()
    """What is switched off at random in training."""
    skip: Skip = Concat()
    """How a U-Net joins encoder and decoder."""
    upsample: Upsample = Bilinear()
    """How a decoder doubles its size."""
    augment: tuple[Augment, ...] = ()
    """Augmentations, in the order in which they act; each member at most once."""
    loss: Loss = CrossEntropy()
    """What is minimised."""
    optimizer: Optimizer = SGD()
    """How a step is made of gradients, with the peak learning rate."""
    schedule: Schedule = Cosine(warmup_frac=0.05)
    """How the learning rate changes over the run."""
    transfer: Transfer = NoTransfer()
    """What of pretrained weights is trained, and when."""
    average: Average = EMA()
    """The average of the weights that is evaluated."""
    pretrained: bool | Annotated[str, StringConstraints(min_length=1)] = False
    """Begin with weights: true (those that timm names), or the path of a provenet run or a safetensors file."""
    batch_size: Count = 128
    """Images in a step, over all devices, at least 1."""
    epochs: Amount | None = 30.0
    """Budget: passes over the training images, above 0. Exactly one budget is set."""
    steps: Count | None = None
    """Budget: optimizer steps, at least 1. Exactly one budget is set."""
    minutes: Amount | None = None
    """Budget: minutes of wall time for everything, above 0. Exactly one budget is set."""
    patience: Count | None = None
    """Stop after so many validations without a better score; none never stops early."""
    clip: Amount | None = None
    """Largest norm of the whole gradient, above 0, typical 1 to 12; larger ones are scaled down. none: no limit."""
    imbalance: Literal["none", "weights", "sampler"] = "none"
    """Rare classes: none, weights (in the loss, by inverse frequency), sampler (drawn more often; classification)."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass; weights stay in 32 bits."""
    device: Device = "cpu"
    """Where to train: cpu, cuda, or cuda:N."""
    channels_last: bool = True
    """Keep the channels of a pixel side by side in memory."""
    seed: Annotated[int, Ge(0), Le(2**63 - 1)] = 0
    """Seed of weights, order, augmentation and dropout, from 0; splits have their own, data.split_seed."""
    val_every: Amount = 1.0
    """Epochs between two validations, above 0."""

    @model_validator(mode="before")
    @classmethod
    def _one_budget(cls, values: Any) -> Any:
        """A budget that is given takes the place of the default one."""
        if isinstance(values, dict) and any(values.get(budget) is not None for budget in BUDGETS):
            return {**dict.fromkeys(BUDGETS), **values}
        return values

    @field_validator("pretrained", mode="before")
    @classmethod
    def _yes_or_no(cls, value: Any) -> Any:
        return _WORDS.get(value, value) if isinstance(value, str) else value

    @field_validator("augment")
    @classmethod
    def _each_once(cls, augment: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [member.name for member in augment]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return augment

    def identity(self) -> str:
        """Return the SHA-256 of the recipe, every default written out: the identity of a run.

        Every field counts: device and precision change the last bits of the result.
        """
        return sha256(canonical(self.model_dump(mode="json")))


def dump_yaml(recipe: Recipe) -> str:
    """Return the recipe as YAML in the order of the schema; reading it gives an equal recipe."""
    return write(recipe.model_dump(mode="json"))
