"""What every member of every slot must satisfy; members are found through the registry, so a new one is tested too."""

from __future__ import annotations

import copy
import pkgutil
import re
from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from provenet import techniques
from provenet.core.layers import Layers
from provenet.core.spec import PARTS, Source, Technique, describe, members, name_of

EVERY = [(slot, member) for slot, union in techniques.SLOTS.items() for member in members(union)]
EVERY_ID = [f"{slot}.{name_of(member)}" for slot, member in EVERY]
EXPECTED = {
    "init": "zero constant normal xavier he lecun orthogonal dirac",
    "inputs": "raw scale01 standardize pretrained per_image",
    "augment": "flip rotate crop shift scale brightness contrast color noise blur cutout mixup cutmix trivial",
    "norm": "none batch group layer instance",
    "activation": "relu leaky_relu tanh sigmoid gelu silu",
    "block": "plain residual preact bottleneck",
    "dropout": "none dropout spatial stochastic_depth",
    "skip": "none concat add matched_add",
    "upsample": "nearest bilinear transposed pixel_shuffle",
    "loss": "cross_entropy dice focal",
    "optimizer": "sgd adamw muon",
    "schedule": "constant step exponential plateau cosine polynomial one_cycle linear",
    "transfer": "none feature_extraction fine_tune",
    "average": "none ema",
}

every_member = pytest.mark.parametrize(("slot", "member"), EVERY, ids=EVERY_ID)


def of(*slots: str) -> Any:
    """Parametrise over the default members of some slots."""
    chosen = [member() for slot, member in EVERY if slot in slots]
    return pytest.mark.parametrize("technique", chosen, ids=lambda part: part.name)


# The registry


def test_every_module_of_the_package_is_a_slot() -> None:
    assert {module.name for module in pkgutil.iter_modules(techniques.__path__)} == set(techniques.SLOTS)


@pytest.mark.parametrize("slot", EXPECTED)
def test_the_members_of_the_lectures_table_are_there(slot: str) -> None:
    assert set(EXPECTED[slot].split()) <= {name_of(member) for member in members(techniques.SLOTS[slot])}


@pytest.mark.parametrize("slot", techniques.SLOTS)
def test_names_are_unique_in_a_slot(slot: str) -> None:
    names = [name_of(member) for member in members(techniques.SLOTS[slot])]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names)


def test_members_are_found_by_class_name() -> None:
    assert techniques.BatchNorm is techniques.norm.BatchNorm
    assert "BatchNorm" in dir(techniques)
    with pytest.raises(AttributeError, match=r"take provenet\.techniques\.init\.Constant"):
        _ = techniques.Constant
    with pytest.raises(AttributeError, match="no one attribute 'Nonsense'"):
        _ = techniques.Nonsense


# The form


@every_member
def test_defaults_build_and_are_frozen(slot: str, member: type[Technique]) -> None:
    technique = member()
    with pytest.raises(ValidationError, match="frozen"):
        technique.name = "other"


@every_member
def test_json_round_trip_through_the_union(slot: str, member: type[Technique]) -> None:
    adapter = TypeAdapter(techniques.SLOTS[slot])
    again = adapter.validate_json(adapter.dump_json(member()))
    assert type(again) is member
    assert again == member()
    assert adapter.validate_python({"name": name_of(member)}) == member()


@every_member
def test_unknown_fields_are_refused(slot: str, member: type[Technique]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        TypeAdapter(techniques.SLOTS[slot]).validate_python({"name": name_of(member), "no_such_field": 1})


@every_member
def test_name_is_a_literal(slot: str, member: type[Technique]) -> None:
    annotation = member.model_fields["name"].annotation
    assert get_origin(annotation) is Literal
    assert get_args(annotation) == (name_of(member),)


@every_member
def test_docstring_has_a_summary_and_all_four_parts(slot: str, member: type[Technique]) -> None:
    parts = describe(member)
    assert list(parts) == ["Summary", *PARTS]
    assert all(text.endswith((".", ".)", "`.")) for text in parts.values()), parts


@every_member
def test_source_says_who_when_what_and_where(slot: str, member: type[Technique]) -> None:
    source = member.source
    assert isinstance(source, Source)
    assert source.authors
    assert source.title
    assert 1900 < source.year <= 2030
    assert source.url.startswith("https://")


@every_member
def test_every_field_is_described(slot: str, member: type[Technique]) -> None:
    undescribed = [name for name, field in member.model_fields.items() if name != "name" and not field.description]
    assert not undescribed


@every_member
def test_numbers_are_bounded_where_not_every_number_makes_sense(slot: str, member: type[Technique]) -> None:
    """A fraction, a probability, a count or a size refuses a negative number."""
    bounded = re.compile(r"(^p|_frac|_px|^num_.*|^std|^eps|^kernel_size|^lr|^gain|^momentum|^weight_decay)$")
    for name, field in member.model_fields.items():
        if bounded.search(name) and isinstance(field.default, int | float) and not isinstance(field.default, bool):
            with pytest.raises(ValidationError):
                member(**{name: -1})


# The verbs of the layer slots


@of("init")
@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (4, 6, 1, 1), (5, 7)])
def test_init_fills_finite_numbers_and_the_same_from_the_same_stream(technique: Any, shape: tuple[int, ...]) -> None:
    fills = [torch.full(shape, torch.nan) for _ in range(2)]
    for weight in fills:
        technique.fill_(weight, torch.Generator().manual_seed(3))
    assert bool(fills[0].isfinite().all())
    assert torch.equal(*fills)


@of("init")
def test_init_leaves_parameters_learning(technique: Any) -> None:
    layer = nn.Conv2d(3, 5, 3)
    technique.fill_(layer.weight, torch.Generator())
    layer(torch.ones(1, 3, 4, 4)).sum().backward()
    assert layer.weight.grad is not None


def check_layer(layer: nn.Module, shape: tuple[int, ...] = (4, 6, 5, 3)) -> None:
    """Same shape, finite gradients, and a copy with the same state gives the same bytes in evaluation."""
    images = torch.randn(shape, requires_grad=True)
    features = layer(images)
    assert features.shape == shape
    features.square().sum().backward()
    assert bool(images.grad.isfinite().all())  # type: ignore[union-attr]
    again = copy.deepcopy(layer)
    again.load_state_dict(layer.state_dict())
    assert torch.equal(layer.eval()(images), again.eval()(images))


@of("norm")
def test_norm_layers(technique: Any) -> None:
    check_layer(technique.layer(6))


@of("activation")
def test_activation_layers(technique: Any) -> None:
    check_layer(technique.layer())
    assert technique.gain() > 0


@of("dropout")
def test_dropout_layers(technique: Any) -> None:
    check_layer(technique.layer())
    check_layer(technique.layer(0.5))


@of("norm", "activation", "dropout", "upsample")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_layers_keep_type_and_channels_last(technique: Any, dtype: torch.dtype) -> None:
    channels = {"norm": (6,), "upsample": (6, 4)}.get(type(technique).__module__.rsplit(".", 1)[-1], ())
    layer = technique.layer(*channels).to(dtype=dtype, memory_format=torch.channels_last)
    features = layer(torch.randn(2, 6, 4, 3).to(dtype=dtype, memory_format=torch.channels_last))
    assert features.dtype == dtype
    # PyTorch's instance norm gives up the layout, yet is faster in bfloat16 than a group norm, which keeps it.
    assert technique.name == "instance" or features.is_contiguous(memory_format=torch.channels_last)


def gradients(module: nn.Module, *images: Tensor) -> list[Tensor | None]:
    module(*images).square().sum().backward()
    return [parameter.grad for parameter in module.parameters()]


@of("block")
@pytest.mark.parametrize("stride", [1, 2])
def test_blocks(technique: Any, stride: int) -> None:
    layers = Layers(nn.BatchNorm2d, nn.ReLU, nn.Identity)
    block = technique.build(6, 8, stride, layers)
    images = torch.randn(2, 6, 7, 5)
    assert block(images).shape == (2, block.out_channels, -(-7 // stride), -(-5 // stride))
    assert all(grad is not None and bool(grad.isfinite().all()) for grad in gradients(block, images))


@of("skip")
@pytest.mark.parametrize("skip_channels", [6, 4])
def test_skips(technique: Any, skip_channels: int) -> None:
    skip = technique.build(6, skip_channels)
    deep, fine = torch.randn(2, 6, 7, 5, requires_grad=True), torch.randn(2, skip_channels, 7, 5)
    assert skip(deep, fine).shape == (2, skip.out_channels, 7, 5)
    assert all(grad is not None and bool(grad.isfinite().all()) for grad in gradients(skip, deep, fine))


@of("upsample")
def test_upsample_layers_double(technique: Any) -> None:
    layer = technique.layer(6, 4)
    images = torch.randn(2, 6, 7, 5)
    assert layer(images).shape == (2, 4, 14, 10)
    assert all(grad is not None and bool(grad.isfinite().all()) for grad in gradients(layer, images))
    assert technique.caveats() == []
