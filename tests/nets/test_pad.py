"""Padding up and cropping back."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.nets.pad import crop_like, pad_to_multiple, pad_to_size

sides = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(height=sides, width=sides, multiple=st.sampled_from([1, 2, 8, 16, 32]))
def test_padded_sides_are_the_next_multiples_and_the_picture_stays(height, width, multiple):
    images = torch.rand(2, 1, height, width)
    padded = pad_to_multiple(images, multiple)
    for side, padded_side in zip((height, width), padded.shape[-2:], strict=True):
        assert padded_side % multiple == 0
        assert side <= padded_side < side + multiple
    assert torch.equal(crop_like(padded, images), images)


def test_the_border_is_mirrored_where_it_can_be_and_repeated_where_not():
    row = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    padded = pad_to_size(row, 2, 5)
    assert padded[0, 0].tolist() == [[1, 2, 3, 2, 1], [1, 2, 3, 2, 1]]
    assert pad_to_size(row, 1, 6)[0, 0].tolist() == [[1, 2, 3, 3, 3, 3]]


def test_each_side_is_padded_in_its_own_way():
    images = torch.arange(8.0).reshape(1, 1, 1, 8)
    padded = pad_to_size(images, 4, 10)
    assert torch.equal(padded, images[..., [0, 1, 2, 3, 4, 5, 6, 7, 6, 5]].expand(1, 1, 4, 10))


def test_images_that_fit_are_not_copied():
    images = torch.rand(1, 3, 32, 64)
    assert pad_to_multiple(images, 32) is images
    assert pad_to_multiple(images[..., :31], 32).is_contiguous(memory_format=torch.contiguous_format)
