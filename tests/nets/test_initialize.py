"""Weights drawn by name, and what all nets have in common: groups, gradients, memory format."""

import itertools

import pytest
import torch
from torch import nn

from provenet import nets
from provenet.techniques.block import PreactBlock, ResidualBlock
from provenet.techniques.init import Constant, He, Orthogonal, Xavier, Zero
from provenet.techniques.norm import GroupNorm, InstanceNorm
from provenet.techniques.upsample import PixelShuffle, Transposed

NETS = {
    "resnet": lambda: nets.resnet(4, depth=8, width=4),
    "resnet18": lambda: nets.resnet(4, depth=18, width=4),
    "preact": lambda: nets.resnet(4, depth=8, width=4, block=PreactBlock()),
    "plain": lambda: nets.plain(4, depth=8, width=4, norm=GroupNorm()),
    "convnet": lambda: nets.convnet(4, widths=(4, 8)),
    "fcn": lambda: nets.fcn(4, width=4, depth=2),
    "unet": lambda: nets.unet(4, width=4, depth=2),
    "unet_transposed": lambda: nets.unet(4, width=4, depth=2, upsample=Transposed(), norm=InstanceNorm()),
    "unet_preact": lambda: nets.unet(4, width=4, depth=2, block=PreactBlock()),
    "timm": lambda: nets.timm_classifier("test_resnet", 4),
    "unet_timm": lambda: nets.unet(4, encoder="timm:test_resnet"),
}
every_net = pytest.mark.parametrize("make", NETS.values(), ids=NETS.keys())


def weights_of(net):
    return [tensor.clone() for tensor in net.state_dict().values()]


@every_net
def test_groups_cover_every_parameter_once_head_last(make):
    net = make()
    groups = net.groups()
    names = [name for _, group in groups for name in group]
    assert sorted(names) == sorted(name for name, _ in net.named_parameters())
    assert len(names) == len(set(names)) and len({section for section, _ in groups}) == len(groups)
    assert groups[-1][0] == "head"
    assert {id(net.get_parameter(name)) for name in groups[-1][1]} == {id(p) for p in net.head.parameters()}
    assert net.num_classes == 4


@every_net
def test_groups_stand_in_the_order_of_the_forward_pass(make):
    net = make()
    modules = dict(net.named_modules())
    first_call, clock = {}, itertools.count()
    for name, _ in net.named_parameters():
        owner = name.rpartition(".")[0]
        modules[owner].register_forward_hook(lambda *_, o=owner: first_call.update({o: first_call.get(o, next(clock))}))
    net.eval()(torch.rand(1, 3, 32, 32))
    order = [min(first_call[name.rpartition(".")[0]] for name in group) for _, group in net.groups()]
    assert order == sorted(order)


@every_net
def test_the_seed_fixes_every_number(make):
    a, b = make(), make()
    for net in (a, b):
        nets.initialize_(net, He(), seed=5)
    assert all(torch.equal(x, y) for x, y in zip(weights_of(a), weights_of(b), strict=True))
    nets.initialize_(b, He(), seed=6)
    assert any(not torch.equal(x, y) for x, y in zip(weights_of(a), weights_of(b), strict=True))


@every_net
def test_gradients_are_finite_and_reach_every_trainable_parameter(make):
    net = make()
    nets.initialize_(net, He(), seed=0)
    with torch.no_grad():
        for module in net.modules():  # zero-gamma would keep a branch's gradients at zero in the first step
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(1.0)
    net.train()(torch.randn(2, 3, 32, 32)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@every_net
def test_channels_last_goes_through_and_changes_nothing(make):
    net = make().eval()
    images = torch.randn(2, 3, 33, 35)
    with torch.no_grad():
        expected = net(images)
        net = net.to(memory_format=torch.channels_last)
        logits = net(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4)
    if logits.ndim == 4:
        assert logits.stride(1) == 1


def test_layers_that_share_a_name_share_their_numbers():
    classifier, segmenter = nets.resnet(4, depth=20), nets.unet(2, encoder=nets.resnet(7, depth=20).encoder)
    nets.initialize_(classifier, He(), seed=1)
    nets.initialize_(segmenter, He(), seed=1)
    theirs = segmenter.state_dict()
    for name, tensor in classifier.state_dict().items():
        if name.startswith("encoder."):
            assert torch.equal(tensor, theirs[name]), name


def test_layers_of_one_shape_get_numbers_of_their_own():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    nets.initialize_(net, He(), seed=1)
    assert not torch.equal(net[0].weight, net[1].weight)


def test_the_global_generator_is_left_alone():
    net = nets.resnet(4, depth=8)
    state = torch.random.get_rng_state()
    nets.initialize_(net, He(), seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_norms_begin_at_one_and_biases_at_zero():
    net = nets.plain(4, depth=8)
    for tensor in net.state_dict().values():
        tensor.copy_(torch.full_like(tensor, 3))
    nets.initialize_(net, Constant(value=0.5), seed=0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.bias == 0).all()
            assert (module.running_mean == 0).all() and (module.running_var == 1).all()
        elif isinstance(module, nn.Conv2d | nn.Linear):
            assert (module.weight == 0.5).all() and (module.bias is None or (module.bias == 0).all())


@pytest.mark.parametrize("zero_gamma", [True, False])
def test_residual_blocks_begin_as_the_identity_where_asked(zero_gamma):
    net = nets.resnet(4, depth=8, block=ResidualBlock(zero_gamma=zero_gamma)).eval()
    nets.initialize_(net, He(), seed=0)
    features = torch.rand(1, 16, 8, 8)
    with torch.no_grad():
        assert torch.equal(net.encoder.stages[0][0](features), features) is zero_gamma


def test_zero_means_zero_up_to_the_head():
    net = nets.plain(4, depth=8)
    nets.initialize_(net, Zero(), seed=0)
    assert all((m.weight == 0).all() for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear))


def test_the_head_divides_by_its_inputs_and_takes_another_law_when_given():
    net = nets.resnet(10, depth=18)
    nets.initialize_(net, He(mode="fan_out"), seed=0)
    assert net.head.weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.05)
    assert net.encoder.stages[0][0].branch.conv1.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    nets.initialize_(net, He(), seed=0, head_init=Zero())
    assert not net.head.weight.any() and net.encoder.stem[0].weight.any()


def test_a_transposed_convolution_is_filled_out_channels_first():
    layer = nn.ConvTranspose2d(512, 8, 2, 2)
    nets.initialize_(layer, He(mode="fan_out"), seed=0)
    assert layer.weight.std().item() == pytest.approx((2 / (8 * 4)) ** 0.5, rel=0.05)
    nets.initialize_(layer, Xavier(), seed=0)
    assert layer.weight.std().item() == pytest.approx((2 / (520 * 4)) ** 0.5, rel=0.05)
    nets.initialize_(layer, Orthogonal(gain=1.0), seed=0)
    rows = layer.weight.detach().transpose(0, 1).reshape(8, -1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(8), atol=1e-5, rtol=0)


def test_filters_that_begin_equal_are_equal_after_initialisation():
    net = nets.unet(2, width=4, depth=1, upsample=PixelShuffle(icnr=True)).eval()
    nets.initialize_(net, He(), seed=0)
    up = net.decoder[0].up[0]
    with torch.no_grad():
        enlarged = up(torch.rand(1, 8, 3, 3))
    assert torch.equal(enlarged, enlarged[..., ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))
