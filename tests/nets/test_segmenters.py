"""U-Net and FCN: shape, structure, any size."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from provenet import nets
from provenet.core.errors import RecipeError
from provenet.techniques.block import BottleneckBlock, PlainBlock, PreactBlock, ResidualBlock
from provenet.techniques.dropout import Dropout
from provenet.techniques.norm import NoNorm
from provenet.techniques.skip import Add, Concat, MatchedAdd, NoSkip
from provenet.techniques.upsample import Bilinear, Nearest, PixelShuffle, Transposed

BLOCKS = [PlainBlock(), ResidualBlock(), PreactBlock(), BottleneckBlock()]


def shapes_of(modules, images, net):
    """Run the net and return the C H W that each module gave."""
    seen = []
    hooks = [module.register_forward_hook(lambda _, __, out: seen.append(tuple(out.shape[1:]))) for module in modules]
    with torch.no_grad():
        net(images)
    for hook in hooks:
        hook.remove()
    return seen


def test_sizes_halve_and_channels_double_and_the_way_up_mirrors_it():
    net = nets.unet(2, width=4, depth=4).eval()
    images = torch.rand(1, 3, 64, 96)
    down = shapes_of(net.encoder.stages, images, net)
    up = shapes_of(net.decoder, images, net)
    assert down == [(4 * 2**level, 64 // 2**level, 96 // 2**level) for level in range(5)]
    assert up == down[-2::-1]


def test_the_paper_s_net_has_two_convolutions_a_level_and_one_skip_a_size():
    net = nets.unet(2, in_channels=1, width=64, max_width=1024, upsample=Transposed())
    assert net.encoder.channels == [64, 128, 256, 512, 1024]
    for level in [*net.encoder.stages, *(level.block for level in net.decoder)]:
        assert [m.kernel_size for m in level.modules() if isinstance(m, nn.Conv2d)] == [(3, 3), (3, 3)]
    joins = [level.skip.out_channels for level in net.decoder]
    assert joins == [1024, 512, 256, 128]
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23  # "In total the network has 23 convolutional layers", section 2


def test_channels_stop_at_max_width():
    assert nets.unet(2, width=4, depth=5, max_width=12).encoder.channels == [4, 8, 12, 12, 12, 12]


def test_every_skip_is_used_and_only_skips_carry_fine_detail():
    images = torch.rand(1, 3, 16, 16)
    for skip, used in [(Concat(), True), (NoSkip(), False)]:
        net = nets.unet(2, width=4, depth=2, skip=skip).eval()
        maps = net.encoder(images)
        fine = [features.detach().requires_grad_() for features in maps]
        net.encoder.forward = lambda _, fine=fine: list(fine)
        net(images).sum().backward()
        assert [features.grad is not None and bool(features.grad.any()) for features in fine] == [used, used, True]


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    depth=st.integers(1, 5),
    block=st.sampled_from(BLOCKS),
    skip=st.sampled_from([NoSkip(), Concat(), Add(), MatchedAdd()]),
    upsample=st.sampled_from([Nearest(), Bilinear(), Transposed(), Transposed(kernel_size=3), PixelShuffle()]),
)
def test_any_size_gives_logits_of_that_size(height, width, depth, block, skip, upsample):
    slots = {"block": block, "skip": skip, "upsample": upsample}
    net = nets.unet(3, in_channels=1, depth=depth, width=4, max_width=16, **slots).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 1, height, width)).shape == (1, 3, height, width)


@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), depth=st.integers(1, 5), block=st.sampled_from(BLOCKS))
def test_any_size_gives_logits_of_that_size_without_skips(height, width, depth, block):
    net = nets.fcn(3, in_channels=1, depth=depth, width=4, max_width=16, block=block).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 1, height, width)).shape == (1, 3, height, width)


def test_fcn_is_the_encoder_a_1x1_convolution_and_one_bilinear_upsampling():
    net = nets.fcn(3, depth=3, width=4).eval()
    images = torch.rand(2, 3, 32, 24)
    with torch.no_grad():
        scores = net.head(net.encoder(images)[-1])
        expected = F.interpolate(scores, scale_factor=8, mode="bilinear")
        torch.testing.assert_close(net(images), expected)


def test_fcn_and_unet_have_the_same_encoder():
    a, b = nets.fcn(2, width=4).encoder, nets.unet(2, width=4).encoder
    assert {n: t.shape for n, t in a.state_dict().items()} == {n: t.shape for n, t in b.state_dict().items()}


def test_matched_addition_costs_what_concatenation_costs():
    concat, matched = (nets.count_parameters(nets.unet(2, skip=skip)) for skip in (Concat(), MatchedAdd()))
    assert matched == pytest.approx(concat, rel=0.02)


@pytest.mark.parametrize("stem", ["small", "large"])
def test_a_classifiers_encoder_fits_under_a_decoder(stem):
    encoder = nets.resnet(10, depth=18, stem=stem, width=4).encoder
    net = nets.unet(2, encoder=encoder).eval()
    assert net.encoder is encoder
    with torch.no_grad():
        assert net(torch.rand(1, 3, 33, 47)).shape == (1, 2, 33, 47)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_levels_have_the_width_asked_for_whatever_the_block(block):
    net = nets.unet(2, width=8, depth=2, block=block)
    assert net.encoder.channels == [8, 16, 32]
    assert [level.out_channels for level in net.decoder] == [16, 8]


def test_dropout_acts_on_the_bottleneck():
    net = nets.unet(2, width=4, dropout=Dropout(p=0.5))
    assert [name for name, module in net.named_modules() if isinstance(module, nn.Dropout)] == ["dropout"]
    assert shapes_of([net.dropout], torch.rand(2, 3, 32, 32), net) == [(64, 2, 2)]


def test_padding_leaves_the_picture_s_own_part_alone():
    """With a receptive field that ends before the padding, far pixels answer as they do without padding."""
    net = nets.unet(2, in_channels=1, width=4, depth=1, norm=NoNorm()).eval()
    images = torch.rand(1, 1, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(net(images[..., :39])[..., :20], net(images)[..., :20])


@pytest.mark.parametrize("count", ["num_classes", "in_channels", "depth", "width", "max_width"])
def test_counts_below_one_are_refused(count):
    for make in (nets.unet, nets.fcn):
        with pytest.raises(RecipeError, match=f"{count} must be at least 1"):
            make(**{"num_classes": 2, count: 0})
