"""Parameters and multiply-adds against published figures and closed forms."""

import pytest
import torch
from torch import nn

from provenet import nets
from provenet.nets.count import count_flops, count_parameters


@pytest.mark.parametrize(("depth", "billions"), [(18, 1.8), (34, 3.6)])
def test_multiply_adds_are_those_of_table_1(depth, billions):
    with torch.device("meta"):
        net = nets.resnet(1000, depth=depth)
    assert count_flops(net, (1, 3, 224, 224)) / 1e9 == pytest.approx(billions, rel=0.03)


def test_convolutions_transposed_convolutions_and_linear_layers_count():
    net = nn.Sequential(nn.Conv2d(2, 6, 3, stride=2, groups=2), nn.ConvTranspose2d(6, 4, 2, 2), nn.Flatten())
    flops = 2 * (6 * 1 * 9 * 4 * 4) + 2 * (6 * 4 * 4 * 4 * 4)
    assert count_flops(net, (2, 2, 10, 10)) == flops
    assert count_flops(nn.Linear(7, 5), (3, 7)) == 3 * 35


def test_counting_leaves_the_net_as_it_was():
    net = nets.resnet(4, depth=8, width=4).train()
    net.encoder.stem.eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    count_flops(net, (1, 3, 16, 16))
    assert modes == [module.training for module in net.modules()]
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_shared_and_frozen_parameters():
    layer = nn.Linear(3, 3, bias=False)
    net = nn.Sequential(layer, layer, nn.Linear(3, 1))
    layer.weight.requires_grad_(False)
    assert count_parameters(net) == 9 + 4
    assert count_parameters(net, trainable_only=True) == 4
