"""The shape of a U-Net as hooks see it, against figures by hand."""

from __future__ import annotations

import pytest

from provenet import nets
from provenet.claims import unet_shape
from provenet.claims.lab import Lab
from provenet.techniques.skip import NoSkip
from provenet.techniques.upsample import Transposed


def test_hooks_see_what_the_net_was_built_for() -> None:
    shape = unet_shape.seen(nets.unet(2, 1, depth=2, width=3), side=16)
    assert shape.down == ((3, 16), (6, 8), (12, 4))
    assert shape.up == ((6, 8), (3, 16))
    assert [(level.raised, level.joined) for level in shape.levels] == [((3, 16), (6, 16)), ((6, 8), (12, 8))]
    assert all(level.calls == 1 and level.handed_on for level in shape.levels)


def test_a_net_without_skips_does_not_pass() -> None:
    shape = unet_shape.seen(nets.unet(2, 1, depth=2, width=3, skip=NoSkip()), side=16)
    checks = unet_shape._checks({"none": shape}, {"none": shape.parameters})
    assert [check.outcome for check in checks] == [True, True, True, True, False, True]


def test_a_net_whose_channels_do_not_double_does_not_pass() -> None:
    shape = unet_shape.seen(nets.unet(2, 1, depth=2, width=3, max_width=6), side=16)
    checks = unet_shape._checks({"narrow": shape}, {"narrow": shape.parameters})
    assert checks[1].value == 0.5
    assert checks[1].outcome is False


@pytest.mark.parametrize(("depth", "width", "kernel_size"), [(1, 2, 2), (3, 5, 2), (2, 4, 3)])
def test_parameters_by_hand(depth: int, width: int, kernel_size: int) -> None:
    net = nets.unet(2, 1, depth=depth, width=width, upsample=Transposed(kernel_size=kernel_size))
    channels = [width * 2**level for level in range(depth + 1)]
    assert unet_shape.counted(channels, kernel_size**2) == sum(p.numel() for p in net.parameters())


def test_the_claim_holds_for_the_nets_of_this_package(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unet_shape, "SIDE", 32)
    finding = unet_shape.measure(lab)
    assert finding.verdict == "holds"
    (diagram,) = finding.charts
    assert diagram.kind == "diagram"
    assert diagram.down[0] == (64, 32)
    assert diagram.skips == ((0, 3), (1, 2), (2, 1), (3, 0))
