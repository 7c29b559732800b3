"""Augmentations: known points, bounds, composition, and draws that depend on the sample alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from provenet.core.batch import VOID, Batch
from provenet.core.rng import Keys
from provenet.core.spec import members
from provenet.techniques.augment import (
    Augment,
    Blur,
    Brightness,
    Color,
    Contrast,
    Crop,
    Cutmix,
    Cutout,
    Flip,
    Mixup,
    Noise,
    Rotate,
    Scale,
    Shift,
    Trivial,
    apply_pixels,
    compose_colors,
    compose_matrices,
    gaussian_blur,
)
from provenet.techniques.augment.color import gains, saturation, stretch
from provenet.techniques.augment.geometry import rotation, window

K = 4
SIZE = (12, 20)
ALL = [member() for member in members(Augment)]
MOVING = [Flip(axis="both"), Rotate(), Crop(), Shift(), Scale(), Trivial()]
COLORING = [Brightness(), Contrast(), Color(), Trivial()]
by_name = pytest.mark.parametrize("member", ALL, ids=lambda member: member.name)
seeds = st.integers(0, 2**31)


def keys(num: int = 64, seed: int = 0, epoch: int = 0) -> Keys:
    return Keys(seed, epoch, np.arange(10, 10 + num, dtype=np.int64))


def batch(num: int = 64, size: tuple[int, int] = SIZE, channels: int = 3, masks: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(num, channels, *size, generator=generator).to(memory_format=torch.channels_last)
    targets = torch.randint(0, K, (num, *size) if masks else (num,), generator=generator)
    return Batch(images, targets, keys(num).ids)


def warped(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A square picture seen through one matrix in centred coordinates."""
    half = (len(picture) - 1) / 2
    centre = np.array([[1, 0, -half], [0, 1, -half], [0, 0, 1]])
    whole = np.linalg.inv(centre) @ matrix @ centre
    return cv2.warpAffine(picture, whole[:2], picture.shape[1::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def smooth_picture(side: int = 33) -> np.ndarray:
    y, x = np.mgrid[:side, :side] / side
    return (100 + 60 * np.sin(5 * x) + 50 * y * x).astype(np.float32)


# --- geometry


@pytest.mark.parametrize(("axis", "dims"), [("horizontal", [1]), ("vertical", [0])])
def test_flip_mirrors_exactly(axis, dims):
    picture = smooth_picture()
    matrix = Flip(p=1, axis=axis).matrices(keys(1), picture.shape)[0]
    assert np.array_equal(warped(picture, matrix), np.flip(picture, dims))


def test_flip_happens_with_probability_p_on_each_axis_alone():
    found = Flip(p=0.3, axis="both").matrices(keys(20_000), SIZE)
    x, y = found[:, 0, 0] < 0, found[:, 1, 1] < 0
    assert abs(x.mean() - 0.3) < 0.02 and abs(y.mean() - 0.3) < 0.02 and abs((x & y).mean() - 0.09) < 0.02


def test_alternating_flip_shows_the_other_side_every_other_epoch():
    sides = [Flip(alternating=True).matrices(keys(500, epoch=epoch), SIZE)[:, 0, 0] for epoch in range(4)]
    assert 0.4 < (sides[0] < 0).mean() < 0.6
    assert np.array_equal(sides[1], -sides[0]) and np.array_equal(sides[2], sides[0])


def test_alternating_on_both_axes_shows_all_four_views_in_four_epochs():
    found = [Flip(alternating=True, axis="both").matrices(keys(50, epoch=epoch), SIZE) for epoch in range(4)]
    views = np.stack([matrices[:, [0, 1], [0, 1]] for matrices in found], axis=1)
    assert all(len(np.unique(of_sample, axis=0)) == 4 for of_sample in views)


@pytest.mark.parametrize("degrees", [-30.0, 12.5, 90.0])
def test_rotation_equals_torchvision(degrees):
    picture = smooth_picture()
    found = warped(picture, rotation(np.array([degrees]))[0])
    expected = tv.rotate(torch.from_numpy(picture)[None], degrees, tv.InterpolationMode.BILINEAR)[0].numpy()
    inner = slice(8, -8)
    assert np.abs(found - expected)[inner, inner].max() < 0.1


def test_scale_equals_torchvision():
    picture, inner = smooth_picture(), slice(8, -8)
    matrix = Scale(min_factor=1.2, max_factor=1.2).matrices(keys(1), picture.shape)[0]
    options = {"angle": 0.0, "translate": [0, 0], "shear": [0.0], "interpolation": tv.InterpolationMode.BILINEAR}
    expected = tv.affine(torch.from_numpy(picture)[None], scale=1.2, **options)[0].numpy()
    assert np.abs(warped(picture, matrix) - expected)[inner, inner].max() < 0.1


@given(area=st.floats(0.01, 1), aspect=st.floats(0.25, 4), x=st.floats(0, 1), y=st.floats(0, 1))
def test_a_window_lies_inside_the_view_and_has_its_area(area, aspect, x, y):
    matrix = window(np.array([area]), np.array([aspect]), np.array([[x, y]]), SIZE)[0]
    half = np.array([SIZE[1] / 2, SIZE[0] / 2])
    low, high = (matrix @ [*-half, 1])[:2], (matrix @ [*half, 1])[:2]
    assert (low >= -half - 1e-9).all() and (high <= half + 1e-9).all() and (high > low).all()
    share = np.prod(high - low) / np.prod(2 * half)
    width, height = np.sqrt(area * aspect), np.sqrt(area / aspect)
    assert share == pytest.approx(area if max(width, height) <= 1 else min(width, 1) * min(height, 1))


def test_windows_reach_both_ends_of_the_slack():
    low, high = (window(np.array([0.25]), np.ones(1), np.full((1, 2), end), SIZE)[0] for end in (0.0, 1.0))
    assert low @ [-10, -6, 1] == pytest.approx([-10, -6, 1]) and high @ [10, 6, 1] == pytest.approx([10, 6, 1])


def test_crop_draws_areas_evenly():
    found = np.linalg.det(Crop(min_area_frac=0.2, max_aspect=1.0).matrices(keys(5000), SIZE))
    assert found.min() >= 0.2 and found.max() <= 1 and found.mean() == pytest.approx(0.6, abs=0.02)


@given(seed=seeds, most=st.integers(0, 5))
def test_shift_moves_by_whole_pixels_within_bounds(seed, most):
    found = Shift(max_px=most).matrices(keys(200, seed), SIZE)[:, :2, 2]
    assert np.array_equal(found, np.rint(found)) and np.abs(found).max() <= most


def test_shift_takes_every_step_equally_often():
    found = Shift(max_px=2).matrices(keys(10_000), SIZE)[:, 0, 2]
    assert np.abs(np.bincount((found + 2).astype(int), minlength=5) / 10_000 - 0.2).max() < 0.02


def test_shift_by_share_uses_each_side():
    found = np.abs(Shift(max_frac=0.25).matrices(keys(2000), SIZE)[:, :2, 2]).max(0)
    assert found.tolist() == [5, 3]  # a quarter of 20 and of 12


def test_shift_takes_one_measure():
    assert Shift(max_px=3).max_frac is None
    assert Shift.model_validate(Shift(max_px=3).model_dump()) == Shift(max_px=3)
    for wrong in ({"max_px": 3, "max_frac": 0.1}, {"max_frac": None}):
        with pytest.raises(ValueError, match="exactly one"):
            Shift(**wrong)


def test_scale_refuses_bounds_in_the_wrong_order():
    with pytest.raises(ValueError, match="greater"):
        Scale(min_factor=1.2, max_factor=0.9)


@given(seed=seeds, most=st.floats(0, 180))
def test_angles_and_factors_keep_their_bounds(seed, most):
    turned = Rotate(max_deg=most).matrices(keys(100, seed), SIZE)
    angles = np.rad2deg(np.arctan2(turned[:, 1, 0], turned[:, 0, 0]))
    assert np.abs(angles).max() <= most + 1e-9
    factors = 1 / Scale(min_factor=0.5, max_factor=1.5).matrices(keys(100, seed), SIZE)[:, 0, 0]
    assert factors.min() >= 0.5 - 1e-9 and factors.max() <= 1.5 + 1e-9


def test_composition_is_the_product_in_order():
    turn, move = Rotate(max_deg=40), Shift(max_px=3)
    both = compose_matrices([turn, Noise(), move], keys(), SIZE)
    assert both == pytest.approx(turn.matrices(keys(), SIZE) @ move.matrices(keys(), SIZE))
    picture = smooth_picture()
    one_warp = warped(picture, both[3])
    two_warps = warped(warped(picture, turn.matrices(keys(), SIZE)[3]), move.matrices(keys(), SIZE)[3])
    assert np.abs(one_warp - two_warps)[10:-10, 10:-10].max() < 0.1


def test_nothing_to_move_gives_identities():
    assert np.array_equal(compose_matrices([Noise()], keys(3), SIZE), np.tile(np.eye(3), (3, 1, 1)))
    assert compose_colors([Flip()], keys(3), 3) is None


# --- colours


def picture_in_unit_range() -> torch.Tensor:
    return 0.3 + 0.3 * torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def mapped(image: torch.Tensor, colors: np.ndarray) -> torch.Tensor:
    """A picture in 0..1 after one map on 0..255."""
    matrix, shift = torch.from_numpy(colors[:, :-1]), torch.from_numpy(colors[:, -1])
    return (torch.einsum("dc,chw->dhw", matrix, image * 255) + shift[:, None, None]) / 255


@pytest.mark.parametrize("factor", [0.0, 0.7, 1.0, 1.3])
def test_colour_maps_equal_torchvision(factor):
    image, one = picture_in_unit_range(), np.array([factor])
    bright = gains(np.repeat(one[:, None], 3, axis=1))[0]
    torch.testing.assert_close(mapped(image, bright), tv.adjust_brightness(image, factor))
    torch.testing.assert_close(mapped(image, saturation(one)[0]), tv.adjust_saturation(image, factor))


def test_contrast_stretches_about_mid_grey():
    found = stretch(np.array([0.5]), 1)[0]
    assert [found[0, 0] * value + found[0, 1] for value in (0.0, 127.5, 255.0)] == [63.75, 127.5, 191.25]


def test_colour_maps_compose_in_order():
    image = picture_in_unit_range()
    parts = [member.colors(keys(), 3)[5] for member in COLORING]
    expected = image
    for part in parts:
        expected = mapped(expected, part)
    torch.testing.assert_close(mapped(image, compose_colors(COLORING, keys(), 3)[5]), expected)


@given(seed=seeds, most=st.floats(0, 1))
def test_brightness_and_contrast_keep_their_bounds(seed, most):
    for member in (Brightness(max_frac=most), Contrast(max_frac=most)):
        factors = member.colors(keys(100, seed), 1)[:, 0, 0]
        assert 1 - most - 1e-9 <= factors.min() and factors.max() <= 1 + most + 1e-9


def test_saturation_keeps_greys_and_colour_does_nothing_to_one_channel():
    untinted = Color(tint_frac=0.0).colors(keys(), 3)
    grey = untinted[:, :, :3] @ np.full(3, 80.0) + untinted[:, :, 3]
    assert grey == pytest.approx(80.0, abs=0.02)  # the weights of torchvision add up to 0.9999
    assert Color().colors(keys(), 1) is None


# --- trivial


def test_trivial_does_one_operation_and_each_equally_often():
    matrices, colors = Trivial().matrices(keys(9000), (64, 64)), Trivial().colors(keys(9000), 3)
    still, plain = np.eye(3), np.eye(3, 4)
    turned = np.abs(matrices[:, 0, 0] - 1) > 0
    kinds = [turned]
    kinds += [(matrices[:, row, column] != 0) & ~turned for row, column in ((0, 1), (1, 0), (0, 2), (1, 2))]
    recolored = np.abs(colors - plain).max((1, 2)) > 1e-12
    assert not (recolored & (np.abs(matrices - still).max((1, 2)) > 0)).any()
    counts = [kind.mean() for kind in kinds] + [recolored.mean() / 3]
    assert np.abs(np.array(counts) - 1 / 9).max() < 0.015
    assert sum(kind.astype(int) for kind in kinds).max() == 1


def test_trivial_keeps_the_published_strengths():
    found = Trivial().matrices(keys(5000), (64, 64))
    shift, slope = np.abs(found[:, :2, 2]).max(), np.abs(found[:, 0, 1]).max()
    assert 18 <= shift <= 20 and 0.45 < slope <= np.sin(np.deg2rad(30))  # 10/32 of 64 pixels; 30 degrees
    factors = Trivial().colors(keys(5000), 1)[:, 0, 0]
    assert 0.1 <= factors.min() < 0.2 and 1.8 < factors.max() <= 1.9


# --- pixels


def test_blur_equals_torchvision_picture_by_picture():
    images = torch.randn(3, 2, 9, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigmas = np.array([0.3, 1.0, 1.7])
    found = gaussian_blur(images, sigmas, radius=3)
    for image, sigma, blurred in zip(images, sigmas, found, strict=True):
        expected = tv.gaussian_blur(image, [7, 7], [sigma, sigma])
        torch.testing.assert_close(blurred, expected, atol=1e-6, rtol=1e-6)


def test_blur_bears_pictures_smaller_than_its_kernel():
    found = Blur(max_sigma_px=5, p=1).apply(batch(4, (3, 2)), keys(4), K).images
    assert torch.isfinite(found).all()


def test_noise_has_its_size_in_its_share_of_pictures():
    clean = batch(400)
    noise = Noise(std=0.3, p=0.25).apply(clean, keys(400), K).images - clean.images
    chosen = noise.flatten(1).abs().amax(1) > 0
    assert abs(chosen.float().mean() - 0.25) < 0.07
    assert noise[chosen].std().item() == pytest.approx(0.3, rel=0.02) and abs(noise[chosen].mean().item()) < 0.01


@given(seed=seeds, size_frac=st.floats(0.1, 1))
def test_cutout_covers_one_square_of_its_size_or_its_part_inside(seed, size_frac):
    side = round(size_frac * min(SIZE))
    ones = Batch(torch.ones(50, 2, *SIZE), torch.zeros(50, dtype=torch.int64), keys(50).ids)
    covered = Cutout(size_frac=size_frac).apply(ones, keys(50, seed), K).images == 0
    assert torch.equal(covered[:, 0], covered[:, 1])
    for one in covered[:, 0]:
        rows, columns = one.any(1).nonzero(), one.any(0).nonzero()
        assert one.sum() == len(rows) * len(columns) and max(len(rows), len(columns)) <= side
        box = one[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] if len(rows) else one[:0]
        assert box.all()


def test_cutout_keeps_the_mask_target_and_its_probability():
    masks = batch(400, masks=True)
    found = Cutout(p=0.3).apply(masks, keys(400), K)
    assert torch.equal(found.targets, masks.targets)
    changed = (found.images != masks.images).flatten(1).any(1).float().mean()
    assert abs(changed - 0.3) < 0.07


# --- mixing


@pytest.mark.parametrize("member", [Mixup(alpha=0.4), Cutmix()], ids=lambda member: member.name)
def test_mixed_targets_are_probabilities_that_say_what_is_in_the_picture(member):
    plain = batch(40)
    # sample i is painted with the number i, so that its content can be read off
    painted = torch.arange(40.0, dtype=torch.float64).view(-1, 1, 1, 1).expand(40, 1, *SIZE).contiguous()
    found = member.apply(plain.with_(images=painted), keys(40), K)
    torch.testing.assert_close(found.targets.sum(1), torch.ones(40))
    own = torch.arange(40.0, dtype=torch.float64)
    share = (found.images.mean((1, 2, 3)) - own.roll(1)) / (own - own.roll(1))
    one_hot = torch.nn.functional.one_hot(plain.targets, K).double()
    expected = share[:, None] * one_hot + (1 - share[:, None]) * one_hot.roll(1, 0)
    torch.testing.assert_close(found.targets.double(), expected, atol=1e-6, rtol=0)
    assert share.min() < 0.4 and ((share >= 0) & (share <= 1)).all()


@given(alpha=st.sampled_from([0.2, 1.0, 3.0]), seed=seeds)
def test_shares_follow_the_beta_distribution(alpha, seed):
    shares = Mixup(alpha=alpha).shares(keys(4000, seed))
    assert shares.mean() == pytest.approx(0.5, abs=0.04)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


def test_mixup_then_cutmix_mixes_soft_targets_again():
    found = apply_pixels([Mixup(p=0.5), Cutmix(p=0.5)], batch(), keys(), K)
    torch.testing.assert_close(found.targets.sum(1), torch.ones(64))


@pytest.mark.parametrize("member", [Mixup(), Cutmix()], ids=lambda member: member.name)
def test_masks_pass_through_mixing_unchanged(member):
    masks = batch(masks=True)
    assert member.apply(masks, keys(), K) is masks


@pytest.mark.parametrize("member", [Mixup(p=0.0), Cutmix(p=0.0)], ids=lambda member: member.name)
def test_unchosen_samples_keep_their_bytes_and_unknown_targets_have_no_mass(member):
    plain = batch(6)
    plain.targets[2] = VOID
    found = member.apply(plain, keys(6), K)
    assert torch.equal(found.images, plain.images)
    assert found.targets.sum(1).tolist() == [1, 1, 0, 1, 1, 1]


def test_class_255_is_a_class_where_there_are_more():
    found = Mixup(p=0.0).apply(batch(2).with_(targets=torch.tensor([VOID, 1])), keys(2), 300)
    assert found.targets[0, VOID] == 1


# --- what holds for all members


def drawn(member, chosen: Keys, masks: bool = False):
    """Everything a member does with some samples of a fixed set."""
    images = batch(64).images[chosen.ids - 10]
    targets = torch.zeros(len(chosen), *(SIZE if masks else ()), dtype=torch.int64)
    found = member.apply(Batch(images, targets, chosen.ids), chosen, K)
    return member.matrices(chosen, SIZE), member.colors(chosen, 3), found.images.numpy()


# of mixup and cutmix only the shares can be: the partner is a neighbour in the batch
@pytest.mark.parametrize(
    "member", [m for m in ALL if m.name not in ("mixup", "cutmix")], ids=lambda member: member.name
)
def test_a_sample_gets_the_same_whatever_its_batch(member):
    together = drawn(member, keys(64))
    some = np.array([3, 50, 17])
    apart = drawn(member, Keys(0, 0, keys(64).ids[some]))
    for one, other in zip(together, apart, strict=True):
        assert (one is None) == (other is None)
        assert one is None or np.array_equal(one[some], other)


@by_name
def test_other_seeds_and_epochs_draw_anew(member):
    first = drawn(member, keys(64))
    for changed in (keys(64, seed=1), keys(64, epoch=1)):
        again = drawn(member, changed)
        assert any(one is not None and not np.array_equal(one, other) for one, other in zip(first, again, strict=True))


@by_name
def test_a_member_draws_the_same_beside_others(member):
    rest = [other for other in MOVING if other.name != member.name]
    alone = member.matrices(keys(), SIZE)
    beside = compose_matrices([*rest, member], keys(), SIZE)
    without = compose_matrices(rest, keys(), SIZE)
    assert beside == pytest.approx(without if alone is None else without @ alone, abs=1e-12)


def test_no_two_members_share_a_draw():
    purposes = [member.purpose("x") for member in ALL]
    assert len(set(purposes)) == len(ALL)


@by_name
def test_the_given_batch_is_left_alone_and_layout_kept(member):
    given_batch = batch()
    before = given_batch.images.clone()
    found = member.apply(given_batch, keys(), K)
    assert torch.equal(given_batch.images, before) and found.images.dtype == before.dtype
    assert found.images.is_contiguous(memory_format=torch.channels_last)


@by_name
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_types_shapes_and_one_channel(member, dtype):
    plain = batch(5, channels=1)
    found = member.apply(plain.with_(images=plain.images.to(dtype)), keys(5), K)
    assert found.images.dtype == dtype and found.images.shape == plain.images.shape
    moves, colors = member.matrices(keys(5), SIZE), member.colors(keys(5), 1)
    assert moves is None or (moves.shape, moves.dtype) == ((5, 3, 3), np.float64)
    assert colors is None or (colors.shape, colors.dtype) == ((5, 1, 2), np.float64)
    three = member.colors(keys(5), 3)
    assert three is None or three.shape == (5, 3, 4)
