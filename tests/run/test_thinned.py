"""Thinned nets: mean and spread against closed forms; nothing but dropout is switched on, and nothing stays so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import entropy as scipy_entropy
from torch import Tensor, nn

from provenet.core.errors import RecipeError
from provenet.core.spec import members, name_of
from provenet.engine.segment import Tiles
from provenet.recipe.network import build_net
from provenet.run.answers import write_predictions
from provenet.run.model import Model, load_model
from provenet.run.predict import Answering, predict
from provenet.run.thinned import DROPPING, demand_dropout, pool, thinned
from provenet.techniques.dropout import Dropout, Dropouts, SampleDropout, SpatialDropout, StochasticDepth

LAYERS = {"dropout": nn.Dropout(0.4), "spatial": nn.Dropout2d(0.3), "stochastic_depth": SampleDropout(0.2)}


def linear(layer: nn.Module) -> nn.Sequential:
    """A net that is linear behind its dropout: 3 x 2 x 2 numbers to 4."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 4)).double()
    return net.eval().requires_grad_(False)


def picture() -> Tensor:
    return torch.randn(1, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


# --- the thinned nets


def test_every_member_that_drops_is_known():
    dropping = {name_of(member) for member in members(Dropouts)} - {"none"}
    assert set(DROPPING) == dropping == set(LAYERS)
    assert {name: type(layer) for name, layer in LAYERS.items()} == DROPPING


@pytest.mark.parametrize("name", LAYERS)
def test_mean_and_variance_are_those_of_the_closed_form(name):
    """y = sum_u m_u a_u / (1 - p), a_u what unit u adds: mean sum a_u, variance p / (1 - p) sum a_u^2."""
    net, num = linear(LAYERS[name]), 20_000
    with thinned(net, 1):
        found = net(picture().expand(num, -1, -1, -1))
    added = net[2].weight.view(4, 3, 4) * picture().view(1, 3, 4)
    units = {"dropout": added.flatten(1), "spatial": added.sum(2), "stochastic_depth": added.sum((1, 2))[:, None]}[name]
    p = LAYERS[name].p
    variance = p / (1 - p) * units.square().sum(1)
    standard_error = (variance / num).sqrt()
    assert bool(((found.mean(0) - net(picture())[0]).abs() < 4 * standard_error).all())
    torch.testing.assert_close(found.var(0), variance, rtol=0.06, atol=0)


def layered() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        parts = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Dropout2d(0.5), nn.Dropout(0.5), SampleDropout(0.5)]
        return nn.Sequential(*parts, nn.Sequential(nn.BatchNorm2d(6), nn.Dropout(0.0)), nn.Flatten(), nn.Linear(24, 2))


@pytest.mark.parametrize("raises", [False, True])
def test_only_dropout_is_switched_on_and_all_is_restored(raises):
    net = layered().eval()
    net[3].train()  # an odd state comes back as it was
    modes, buffers = [m.training for m in net.modules()], [b.clone() for b in net.buffers()]
    images = torch.randn(5, 3, 4, 4)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    try:
        with thinned(net, 0):
            assert {type(m) for m in net.modules() if m.training} == {nn.Dropout, nn.Dropout2d, SampleDropout}
            assert not torch.equal(net(images), net(images.flip(0)).flip(0))
            if raises:
                net(torch.zeros(1, 1, 4, 4))
    except RuntimeError:
        assert raises
    else:
        assert not raises
    assert torch.equal(torch.rand(3), expected)
    assert [m.training for m in net.modules()] == modes
    assert all(torch.equal(now, before) for now, before in zip(net.buffers(), buffers, strict=True))
    assert not net._forward_pre_hooks


def test_every_forward_pass_is_by_the_same_nets_and_other_seeds_make_others():
    net, images = layered().eval(), torch.randn(6, 3, 4, 4)
    with thinned(net, 5):
        first, again = net(images), net(images)
    with thinned(net, 6):
        other = net(images)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, net(images))


# --- the figures

TABLES = st.integers(2, 5).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 9), min_size=k, max_size=k).filter(sum), min_size=2, max_size=7)
)


@given(table=TABLES, at_once=st.integers(1, 4))
def test_entropy_and_mutual_information_by_definition(table, at_once):
    probs = np.array(table) / np.sum(table, axis=1, keepdims=True)
    waiting = iter(torch.from_numpy(probs))
    pooled = pool(
        linear(nn.Dropout(0.5)), lambda num: torch.stack([next(waiting) for _ in range(num)]), len(probs), at_once, 0
    )
    mean = probs.mean(0)
    np.testing.assert_allclose(pooled.probs.numpy(), mean, atol=1e-12)
    assert pooled.entropy.item() == pytest.approx(scipy_entropy(mean), abs=1e-9)
    # the mutual information is the mean divergence of a pass from the mean
    divergence = np.mean([scipy_entropy(row, mean) for row in probs])
    assert pooled.mutual_information.item() == pytest.approx(divergence, abs=1e-9)
    assert 0 <= pooled.mutual_information.item() <= pooled.entropy.item() + 1e-12 <= np.log(len(mean)) + 1e-9


def test_agreement_and_disagreement_are_told_apart():
    """Both answer half and half; the one because every pass does, the other because passes contradict each other."""
    net, unsure = linear(nn.Dropout(0.5)), torch.full((4, 2), 0.5)
    agree = pool(net, lambda num: unsure[:num], 4, 4, 0)
    contradict = pool(net, lambda num: torch.eye(2).repeat(2, 1)[:num], 4, 4, 0)
    assert (agree.entropy.item(), agree.mutual_information.item()) == pytest.approx((np.log(2), 0))
    assert (contradict.entropy.item(), contradict.mutual_information.item()) == pytest.approx((np.log(2), np.log(2)))


# --- answers for files


@pytest.fixture(scope="module")
def photo_model(photo_run) -> Model:
    """A net that was trained with dropout, in full precision."""
    model = load_model(photo_run)
    return replace(model, feed=replace(model.feed, precision=replace(model.feed.precision, name="fp32")))


def with_dropout(model: Model, dropout: Dropout | SpatialDropout | StochasticDepth) -> Model:
    """The model with dropout layers and the same weights: dropout has none."""
    recipe = model.recipe.model_copy(update={"dropout": dropout})
    net = build_net(recipe, len(model.classes), model.channels)
    net.load_state_dict(model.net.state_dict())
    return replace(model, recipe=recipe, net=model.feed.precision.place(net).eval().requires_grad_(False))


@pytest.fixture(scope="module")
def cell_model(cell_run) -> Model:
    return with_dropout(load_model(cell_run), SpatialDropout(p=0.3))


def probs_of(model, files, **changes):
    answering = Answering(dropout_samples=5, **changes)
    return {one.file: (one.probs, one.spread.entropy, one.spread.mutual_information) for one in
            predict(model, files, answering)}  # fmt: skip


def test_same_bytes_whatever_the_batch_the_order_and_the_generator(photo_model, photos):
    files = sorted((photos / "a").iterdir())[:7]
    once = probs_of(photo_model, files)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    assert probs_of(photo_model, files[::-1], batch_size=2) == once
    assert torch.equal(torch.random.get_rng_state(), before)
    assert probs_of(photo_model, files[3:4]) == {str(files[3]): once[str(files[3])]}
    assert not any(module.training for module in photo_model.net.modules())
    seeded = replace(photo_model, recipe=photo_model.recipe.model_copy(update={"seed": 1}))
    assert probs_of(seeded, files) != once


def test_many_samples_come_near_the_net_without_dropout_and_spread(photo_model, photos):
    files = sorted((photos / "b").iterdir())[:4]
    plain = [prediction.probs for prediction in predict(photo_model, files)]
    for probs, sampled in zip(plain, predict(photo_model, files, Answering(dropout_samples=400)), strict=True):
        assert list(sampled.probs.values()) == pytest.approx(list(probs.values()), abs=0.1)
        assert sampled.probs != probs
        assert sum(sampled.probs.values()) == pytest.approx(1)
        assert sampled.label == max(sampled.probs, key=sampled.probs.__getitem__)
        assert 0 < sampled.spread.mutual_information < sampled.spread.entropy <= np.log(3)
        assert sampled.spread.entropy == pytest.approx(scipy_entropy(list(sampled.probs.values())))
        assert sampled.spread.entropy_map is None


def test_samples_are_answers_of_the_net_one_by_one(photo_model, photos, monkeypatch):
    """With one pass at a time the answer is the mean of single passes, each by a net of its own."""
    monkeypatch.setattr("provenet.run.predict.MOST_PIXELS", 1)
    passes = []
    answer = photo_model.net.forward
    monkeypatch.setattr(photo_model.net, "forward", lambda images: passes.append(answer(images)) or passes[-1])
    (sampled,) = predict(photo_model, [photos / "c" / "03.png"], Answering(dropout_samples=6))
    rows = torch.cat(passes).float().softmax(1).double().numpy()
    assert len(np.unique(rows, axis=0)) == 6
    np.testing.assert_allclose(list(sampled.probs.values()), rows.mean(0), rtol=1e-6)
    expected = scipy_entropy(rows.mean(0)) - scipy_entropy(rows, axis=1).mean()
    assert sampled.spread.mutual_information == pytest.approx(expected, abs=1e-6)


def test_mirrored_samples_are_symmetric(photo_model, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for name, side in (("here.png", pixels), ("there.png", pixels[:, ::-1])):
        Image.fromarray(side).save(tmp_path / name)
    files = [tmp_path / "here.png", tmp_path / "there.png"]
    (here, there) = probs_of(photo_model, files, mirrored=True).values()
    assert list(here[0].values()) == pytest.approx(list(there[0].values()), abs=1e-5)
    assert here[1:] == pytest.approx(there[1:], abs=1e-5)
    (here, there) = probs_of(photo_model, files).values()
    assert list(here[0].values()) != pytest.approx(list(there[0].values()), abs=1e-5)


def test_masks_have_a_map_of_their_uncertainty(cell_model, cells, tmp_path):
    files = [cells / "images" / "00.png", cells / "images" / "01.png"]
    answers = list(predict(cell_model, [cells / "images"], Answering(dropout_samples=4)))[:2]
    count, _ = write_predictions(cell_model, answers, tmp_path)
    assert count == 2
    for file, answer in zip(files, answers, strict=True):
        entropy = answer.spread.entropy_map
        assert entropy.shape == answer.mask.shape == answer.picture.shape[:2]
        assert 0 <= entropy.min() < entropy.max() <= np.log(2) + 1e-6
        assert answer.spread.entropy == pytest.approx(entropy.mean(), rel=1e-5)
        assert 0 < answer.spread.mutual_information < answer.spread.entropy
        with Image.open(tmp_path / "uncertainty" / file.name) as written:
            assert np.abs(np.asarray(written) / 255 * np.log(2) - entropy).max() <= 0.51 / 255 * np.log(2)
    alone = next(predict(cell_model, files[1:], Answering(dropout_samples=4)))
    assert np.array_equal(alone.spread.entropy_map, answers[1].spread.entropy_map)
    assert np.array_equal(alone.mask, answers[1].mask)


def test_tiles_are_seen_by_the_same_nets(cell_model, tmp_path, monkeypatch):
    """Tiles with one content have one answer; with draws of their own, they would contradict each other."""
    Image.fromarray(np.full((40, 60), 90, np.uint8)).save(tmp_path / "even.png")
    tiles, answer = [], cell_model.net.forward
    monkeypatch.setattr(cell_model.net, "forward", lambda images: tiles.append(answer(images)) or tiles[-1])
    next(predict(cell_model, [tmp_path / "even.png"], Answering(dropout_samples=3, tiles=Tiles(36, whole_below=1))))
    assert len(tiles) >= 4
    assert all(torch.equal(tile, tiles[0]) for tile in tiles)
    assert not torch.equal(tiles[0][0], tiles[0][1])


# --- refusals


def test_a_net_without_dropout_is_refused(cell_run, cells):
    model = load_model(cell_run)
    with pytest.raises(RecipeError) as caught:
        next(predict(model, [cells / "images" / "00.png"], Answering(dropout_samples=5)))
    (fault,) = caught.value.faults
    assert fault.got == "net=unet dropout=none"
    assert "dropout or spatial or stochastic_depth" in fault.allowed
    assert "train with dropout=dropout" in fault.remedy
    never = with_dropout(model, Dropout(p=0))
    with pytest.raises(RecipeError, match=r"got net=unet dropout=dropout dropout\.p=0\."):
        demand_dropout(never.net, never.recipe)


def test_a_net_that_cannot_have_dropout_has_another_remedy(photo_model):
    timm = {"name": "timm", "model": "resnet18"}
    recipe = type(photo_model.recipe).model_validate({"net": timm})
    with pytest.raises(RecipeError, match="To do: train another net with dropout=dropout"):
        demand_dropout(nn.Linear(1, 1), recipe)


@pytest.mark.parametrize("num", [-1, 0, 1])
def test_one_sample_has_no_spread(num):
    with pytest.raises(RecipeError, match=f"got {num}. Allowed: 2 or more. To do: take 20"):
        Answering(dropout_samples=num)
