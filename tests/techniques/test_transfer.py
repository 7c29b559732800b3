"""Transfer: what is frozen keeps every byte, parameters and buffers; rates fall with the distance from the head."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch import nn

from provenet.techniques.optimizer import SGD
from provenet.techniques.transfer import FeatureExtraction, FineTune, NoTransfer, frozen_norms


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU())
        self.head = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.stem(images)).mean((2, 3)))

    def groups(self) -> list[tuple[str, list[str]]]:
        names = [name for name, _ in self.named_parameters()]
        return [(part, [name for name in names if name.startswith(part)]) for part in ("stem", "body", "head")]


def digests(net: nn.Module) -> dict[str, str]:
    return {name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in net.state_dict().items()}


def changed(net: Net, transfer, progress: float, steps: int = 4) -> set[str]:
    """Names of the parameters and buffers that training changed."""
    optimizer = SGD(lr=0.1).build(net.named_parameters())
    before = digests(net)
    for step in range(steps):
        net.train()
        transfer.set_mode_(net, net.groups(), progress)
        generator = torch.Generator().manual_seed(step)
        logits = net(torch.randn(8, 1, 8, 8, generator=generator))
        nn.functional.cross_entropy(logits, torch.tensor([0, 1] * 4)).backward()
        optimizer.step()
        optimizer.zero_grad()
    after = digests(net)
    return {name for name in before if before[name] != after[name]}


def test_feature_extraction_changes_no_byte_of_the_body():
    torch.manual_seed(0)
    net = Net()
    assert changed(net, FeatureExtraction(), 0.5) == {name for name in net.state_dict() if name.startswith("head")}


def test_train_stats_moves_frozen_statistics_and_nothing_else():
    torch.manual_seed(0)
    net = Net()
    moved = {name for name in changed(net, FeatureExtraction(bn="train_stats"), 0.5) if not name.startswith("head")}
    counted = ("running_mean", "running_var", "num_batches_tracked")
    assert moved == {f"{layer}.{name}" for layer in ("stem.1", "body.1") for name in counted}


def test_train_lets_scale_and_shift_learn_too():
    torch.manual_seed(0)
    net = Net()
    moved = {name for name in changed(net, FeatureExtraction(bn="train"), 0.5) if not name.startswith("head")}
    assert {"stem.1.weight", "stem.1.bias", "stem.1.running_mean", "body.1.running_var"} <= moved
    assert not moved & {"stem.0.weight", "stem.0.bias", "body.0.weight", "body.0.bias"}


def test_fine_tune_trains_the_head_first_then_all():
    torch.manual_seed(0)
    net, transfer = Net(), FineTune(head_first_frac=0.25)
    assert changed(net, transfer, 0.2499) == {name for name in net.state_dict() if name.startswith("head")}
    assert changed(net, transfer, 0.25) == set(net.state_dict())


def test_fine_tune_unfreezes_the_last_groups():
    torch.manual_seed(0)
    net = Net()
    assert not any(name.startswith("stem") for name in changed(net, FineTune(unfreeze=1), 0.9))
    everything = {name for name, _ in net.named_parameters()}
    for unfreeze in (2, 50, "all"):
        assert FineTune(unfreeze=unfreeze).trainable(net.groups(), 0.9) == everything


def test_rates_fall_by_depth():
    found = FineTune(decay=0.5).multipliers(Net().groups())
    assert (found["head.1.weight"], found["body.0.bias"], found["stem.1.weight"]) == (1.0, 0.5, 0.25)
    assert set(NoTransfer().multipliers(Net().groups()).values()) == {1.0}


def test_none_trains_everything_again_after_freezing():
    torch.manual_seed(0)
    net = Net()
    FeatureExtraction().set_mode_(net, net.groups(), 0.0)
    assert changed(net, NoTransfer(), 0.0) == set(net.state_dict())


def test_a_net_without_parameters_has_nothing_frozen():
    assert frozen_norms(nn.Sequential(nn.BatchNorm2d(3, affine=False)), set()) == []


def test_unfreeze_must_be_a_count_or_all():
    for wrong in (0, -1, "some"):
        with pytest.raises(ValueError):
            FineTune(unfreeze=wrong)
