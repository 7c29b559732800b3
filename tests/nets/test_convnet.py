"""The fast net for small images and its whitening filters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from provenet import nets
from provenet.core.errors import RecipeError
from provenet.nets.convnet import whitening_filters
from provenet.techniques.dropout import Dropout
from provenet.techniques.init import He


def smooth_images(num, channels, side):
    """Images whose neighbouring pixels and channels are alike, with a mean that is not zero."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(num, channels, side + 2, side + 2, generator=generator)
    images = F.avg_pool2d(noise, 3, 1) * 3 + 0.2
    return images + images.mean(1, keepdim=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_whitened_patches_have_the_identity_as_second_moments(channels):
    images = smooth_images(250, channels, 12)  # several chunks
    filters = whitening_filters(images, eps=1e-12)
    size = 4 * channels
    assert filters.shape == (2 * size, channels, 2, 2)
    responses = F.conv2d(images.double(), filters[:size].double()).permute(1, 0, 2, 3).reshape(size, -1)
    moments = responses @ responses.T / responses.shape[1]
    torch.testing.assert_close(moments, torch.eye(size, dtype=torch.float64), atol=1e-4, rtol=0)


def test_the_other_half_of_the_filters_is_the_negative():
    filters = whitening_filters(smooth_images(20, 3, 8))
    assert torch.equal(filters[12:], -filters[:12])


def test_eps_bounds_directions_without_variance():
    filters = whitening_filters(torch.ones(5, 1, 4, 4), eps=1e-2)
    assert filters.isfinite().all() and filters.flatten(1).norm(dim=1).max() <= 10.01


def test_filters_are_frozen_and_kept_by_initialisation_while_the_bias_learns():
    net = nets.convnet(10, widths=(4, 8))
    net.prepare_(smooth_images(30, 3, 9))
    before = net.whitening.weight.clone()
    nets.initialize_(net, He(), seed=0)
    nets.initialize_(net, He(), seed=1)
    F.cross_entropy(net(torch.randn(4, 3, 9, 9)), torch.arange(4)).backward()
    assert torch.equal(net.whitening.weight, before)
    assert "whitening.weight" not in dict(net.named_parameters())
    assert "whitening.weight" in net.state_dict()
    assert net.whitening.bias.grad.abs().sum() > 0


def test_at_most_5000_images_are_looked_at():
    images = smooth_images(5100, 1, 4)
    other = images.clone()
    other[5000:] = 1e3
    a, b = nets.convnet(2, in_channels=1), nets.convnet(2, in_channels=1)
    a.prepare_(images), b.prepare_(other)
    assert torch.equal(a.whitening.weight, b.whitening.weight)


def test_only_nets_that_want_images_say_so():
    assert isinstance(nets.convnet(10), nets.NeedsImages)
    assert not isinstance(nets.resnet(10, depth=8), nets.NeedsImages)


def test_the_layers_are_those_of_the_source():
    """Section 3.1: three groups of two convolutions, 32 -> 31 -> 15 -> 7 -> 3 pixels, 1.97 million parameters."""
    net = nets.convnet(10).eval()
    sides = []
    for group in net.body:
        group.register_forward_hook(lambda _, __, output: sides.append(tuple(output.shape[1:])))
    net(torch.randn(1, 3, 32, 32))
    assert sides == [(64, 15, 15), (256, 7, 7), (256, 3, 3)]
    convs = [24 * 64, 64 * 64, 64 * 256, 256 * 256, 256 * 256, 256 * 256]
    norms = 2 * 2 * (64 + 256 + 256)
    assert nets.count_parameters(net) == 24 + 9 * sum(convs) + norms + 2560


def test_three_convolutions_have_a_shortcut():
    net = nets.convnet(10, widths=(4,), convs_per_group=3).eval()
    group = net.body[0]
    seen = {}
    for name in ("first", "rest", "activation"):
        getattr(group, name).register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
    net(torch.randn(2, 3, 8, 8))
    torch.testing.assert_close(seen["activation"], F.gelu(seen["first"] + seen["rest"]))
    assert sum(isinstance(module, nn.Conv2d) for module in group.modules()) == 3


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), convs=st.integers(1, 3))
def test_any_size_gives_logits(height, width, convs):
    net = nets.convnet(3, in_channels=1, widths=(4, 4, 4), convs_per_group=convs).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 1, height, width)).shape == (1, 3)
    net.prepare_(torch.rand(3, 1, height, width))
    assert net.whitening.weight.isfinite().all()


def test_digits_of_eight_pixels_keep_three_to_convolve():
    net = nets.convnet(10, in_channels=1, widths=(4, 4, 4)).eval()
    sides = []
    for group in net.body:
        group.register_forward_hook(lambda _, __, output: sides.append(output.shape[-1]))
    net(torch.randn(1, 1, 8, 8))
    assert sides == [3, 3, 3]


def test_logits_are_scaled_and_dropout_stands_before_the_head():
    net = nets.convnet(4, widths=(4,), dropout=Dropout(p=0.5)).eval()
    images = torch.randn(2, 3, 8, 8)
    small = net(images)
    net.scale = 1.0
    torch.testing.assert_close(net(images), 9 * small)
    assert isinstance(net.dropout, nn.Dropout)


def test_impossible_widths_are_refused():
    with pytest.raises(RecipeError):
        nets.convnet(10, widths=())
    with pytest.raises(RecipeError):
        nets.convnet(10, widths=(8, 0))
