"""Number formats, layouts, and the choice of exact algorithms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from provenet.engine.precision import Precision, exact_arithmetic, fast_bf16

CPU = torch.device("cpu")


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_activations_take_the_format_and_weights_do_not(name: str, dtype: torch.dtype) -> None:
    precision = Precision(name, CPU)  # type: ignore[arg-type]
    net = precision.place(nn.Conv2d(3, 4, 3))
    with precision.context():
        values = net(torch.rand(2, 3, 5, 5))
    assert values.dtype == dtype and net.weight.dtype == torch.float32
    assert net(torch.rand(2, 3, 5, 5)).dtype == torch.float32, "outside the context nothing is left of it"


@pytest.mark.parametrize("channels_last", [True, False])
def test_layout(channels_last: bool) -> None:
    precision = Precision("fp32", CPU, channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    other = torch.contiguous_format if channels_last else torch.channels_last
    images = torch.rand(2, 3, 4, 5).contiguous(memory_format=other)
    arranged = precision.arrange(images)
    assert arranged.is_contiguous(memory_format=layout) and torch.equal(arranged, images)
    weight = precision.place(nn.Conv2d(3, 4, 3)).weight
    assert weight.is_contiguous(memory_format=layout)


def test_exact_arithmetic_is_put_back() -> None:
    def settings() -> tuple[bool, ...]:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.backends.cudnn.benchmark,
        )

    before = settings()
    with pytest.raises(KeyError), exact_arithmetic():
        assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
        raise KeyError
    assert settings() == before


def test_bf16_is_not_claimed_for_other_devices() -> None:
    assert fast_bf16(torch.device("meta")) is False
    found = torch.cpu.get_capabilities()
    assert fast_bf16(CPU) is any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
