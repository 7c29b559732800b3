"""Names become parts that train: every net on every size, weights of classes, what is frozen stays frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from provenet.core.errors import RecipeError
from provenet.core.log import Silent
from provenet.data.dataset import Dataset, prepare
from provenet.data.index import read_index
from provenet.data.options import DataOptions
from provenet.engine.state import TrainState
from provenet.engine.step import train_step
from provenet.recipe.build import Session, build_device, build_session, class_counts, clean_ids, defined, fit_stats
from provenet.recipe.load import load
from provenet.recipe.words import parse_words

Build = Callable[..., Session]
NUM = 26


def save(folder: Path, name: str, pixels: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    (folder / name).write_bytes(data.getvalue())


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """Noise with unequal classes: 20 to 6 pictures; a tenth to nine tenths of the pixels, a little of it void."""
    folder, rng = tmp_path_factory.mktemp("build"), np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("provenet.data.build.num_decoders", lambda _: 0)
        for i in range(NUM):
            pixels = rng.integers(0, 256, (20, 20, 3), np.uint8)
            save(folder / "classes" / ("many" if i < 20 else "few"), f"{i:02}.png", pixels)
            save(folder / "cells" / "images", f"{i:02}.png", pixels)
            save(
                folder / "cells" / "masks",
                f"{i:02}.png",
                rng.choice([0, 1, 255], (20, 20), p=[0.9, 0.08, 0.02]).astype(np.uint8),
            )
        options = DataOptions(val_frac=0.3, test_frac=0)
        return {
            task: prepare(read_index(str(folder / name)), options, folder / task, Silent())
            for task, name in (("classification", "classes"), ("segmentation", "cells"))
        }  # fmt: skip


@pytest.fixture
def build(datasets: dict[str, Dataset]) -> Build:
    def make(task: str, *words: str) -> Session:
        given = [*words, f"task={task}", "batch_size=4", "steps=6"]
        automatic = {} if task == "classification" else {"net.name": "unet", "view.resize": "window"}
        recipe = load(parse_words(given), automatic)
        dataset = datasets[task]
        return build_session(recipe, dataset, fit_stats(recipe, dataset))

    return make


def step(session: Session, state: TrainState) -> bool:
    batch = next(session.job.loader.batches(0, state.counters.step))
    made = train_step(session.job, state, session.feed.train(batch, 0)).made
    state.counters.step += 1
    return made


def copied(state: TrainState) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.net.state_dict().items()}


NETS = {
    "classification": [
        ("net=resnet", "net.depth=8"),
        ("net=resnet", "net.depth=8", "block=preact", "norm=group"),
        ("net=plain", "net.depth=8", "norm=none"),
        ("net=convnet", "net.widths=[8,8]"),
        ("net=timm:resnet10t",),
    ],
    "segmentation": [
        ("net=unet", "net.width=4", "net.levels=2"),
        ("net=unet", "net.width=4", "net.levels=2", "skip=add", "upsample=transposed", "loss=dice"),
        ("net=fcn", "net.width=4", "net.levels=2", "loss=focal"),
        ("net=unet", "net.encoder=timm:resnet10t"),
    ],
}


@pytest.mark.parametrize("size", ["[16,16]", "[19,13]"])
@pytest.mark.parametrize("words", [(task, *words) for task, nets in NETS.items() for words in nets], ids="-".join)
def test_every_net_trains_and_is_scored(words: tuple[str, ...], size: str, build: Build) -> None:
    session = build(*words, f"view.size={size}")
    state = session.new_state()
    before = copied(state)
    assert step(session, state) and step(session, state)
    learnt = {name for name, _ in state.net.named_parameters()}
    still = {name for name in learnt if torch.equal(before[name], state.net.state_dict()[name])}
    assert not {name for name in still if "whiten" not in name}, "every parameter of the net learns"
    found = session.job.validate(state.evaluated)
    assert 0 <= found.primary <= 1 and found.loss is not None and np.isfinite(found.loss)
    assert found.metrics.keys() == found.train_clean.keys()


def test_the_same_recipe_gives_the_same_bytes(build: Build) -> None:
    states = []
    for noise in (0, 1):
        torch.manual_seed(noise)
        session = build("classification", "net.depth=8", "view.size=[16,16]", "augment=[flip,noise]", "dropout=dropout")
        states.append(session.new_state())
        step(session, states[-1])
    ours, theirs = (copied(state) for state in states)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_class_weights_by_counting(task: str, build: Build, datasets: dict[str, Dataset]) -> None:
    dataset = datasets[task]
    weights = build(
        task, "imbalance=weights", "net.width=4" if task == "segmentation" else "net.depth=8"
    ).job.class_weights
    counted = [0, 0]
    for i in dataset.splits["train"]:
        truth = [dataset.labels[i]] if dataset.labels is not None else dataset.store.mask(int(i)).ravel()
        for value in truth:
            if value < 2:
                counted[value] += 1
    assert class_counts(dataset).tolist() == counted and counted[0] != counted[1]
    assert weights is not None
    np.testing.assert_allclose(weights.tolist(), [sum(counted) / (2 * count) for count in counted], rtol=1e-6)
    assert np.dot(weights.tolist(), counted) / sum(counted) == pytest.approx(1), (
        "mean 1 a sample: the rate keeps its meaning"
    )


def test_a_class_without_samples_weighs_nothing(build: Build, datasets: dict[str, Dataset], monkeypatch: Any) -> None:
    monkeypatch.setattr("provenet.recipe.build.class_counts", lambda dataset: np.array([30, 0]))
    weights = build("classification", "imbalance=weights", "net.depth=8").job.class_weights
    assert weights is not None and weights.tolist() == [1.0, 0.0]
    assert build("classification", "net.depth=8").job.class_weights is None


def test_the_sampler_draws_classes_alike(build: Build, datasets: dict[str, Dataset]) -> None:
    session = build("classification", "imbalance=sampler", "net.depth=8", "view.size=[16,16]")
    targets = torch.cat([batch.targets for batch in session.job.loader.batches(0)])
    assert abs(int((targets == 0).sum()) - int((targets == 1).sum())) <= 1


def test_lengths_are_counted_in_updates(build: Build, datasets: dict[str, Dataset]) -> None:
    per_epoch = -(-len(datasets["classification"].splits["train"]) // 4)
    session = build("classification", "net.depth=8", "val_every=0.5", "patience=7", "clip=2")
    assert session.job.loader.steps_per_epoch in (per_epoch, per_epoch - 1)  # a batch of one joins another
    assert session.job.steps_per_validation == max(1, round(session.job.loader.steps_per_epoch / 2))
    assert (session.job.total_steps, session.job.patience, session.job.clip) == (6, 7, 2)
    recipe = session.recipe.model_copy(update={"steps": None, "epochs": 2.5})
    longer = build_session(recipe, session.dataset, session.stats)
    assert longer.job.total_steps == round(2.5 * session.job.loader.steps_per_epoch)


def test_statistics_come_from_the_training_split_alone(datasets: dict[str, Dataset]) -> None:
    dataset = datasets["classification"]
    recipe = load(parse_words(["task=classification"]))
    pixels = np.concatenate([dataset.store.image(int(i)).reshape(-1, 3) for i in dataset.splits["train"]])
    stats = fit_stats(recipe, dataset)
    np.testing.assert_allclose(stats.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(stats.std, pixels.std(0), rtol=1e-12)
    without_val = replace(dataset, splits=dataset.splits | {"val": dataset.splits["val"][:1]})
    assert fit_stats(recipe, without_val) == stats


WEIGHTS = ("net.depth=8", "view.size=[16,16]", "average=ema", "average.decay=0.5")


@pytest.fixture
def donor(build: Build, tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """The weights of a net after two updates, saved: its batch norm has seen pictures."""
    session = build("classification", *WEIGHTS, "seed=5")
    state = session.new_state()
    step(session, state)
    step(session, state)
    file = tmp_path / "donor.safetensors"
    save_file({name: value.contiguous() for name, value in copied(state).items()}, file)
    return file, copied(state)


def test_feature_extraction_changes_no_byte_of_the_body(build: Build, donor: tuple[Path, dict[str, Tensor]]) -> None:
    file, weights = donor
    session = build("classification", *WEIGHTS, f"pretrained={file}", "transfer=feature_extraction")
    state = session.new_state()
    assert session.loaded is not None and not session.loaded.missing
    for _ in range(4):
        assert step(session, state)
    head = {name for group, names in state.net.groups() if group == "head" for name in names}
    assert head
    for net in (state.net, state.averaged):
        assert net is not None
        for name, value in net.state_dict().items():
            assert torch.equal(value, weights[name]) == (name not in head), name


@pytest.mark.parametrize("decay", ["1.0", "0.5"])
def test_fine_tuning_unfreezes_on_the_way(decay: str, build: Build, donor: tuple[Path, dict[str, Tensor]]) -> None:
    file, weights = donor
    words = ("transfer=fine_tune", f"transfer.decay={decay}", "transfer.head_first_frac=0.5")
    session = build("classification", *WEIGHTS, f"pretrained={file}", *words)
    state = session.new_state()
    first = session.net.groups()[0][1][0]
    for number in range(4):
        assert step(session, state)
        assert torch.equal(state.net.state_dict()[first], weights[first]) == (number < 3), number
    rates = {group["lr_multiplier"] for group in state.optimizer.param_groups}
    assert rates == ({1.0} if decay == "1.0" else {0.5**depth for depth in range(len(session.net.groups()))})


def test_a_score_that_is_not_defined_is_none(build: Build, monkeypatch: Any) -> None:
    session = build("segmentation", "net.width=4", "net.levels=2", "view.size=[16,16]")
    monkeypatch.setattr("provenet.metrics.segmentation.SegmentationTally.quick", lambda self: {"dice": float("nan")})
    found = session.job.validate(session.net)
    assert found.primary is None and found.metrics == {"dice": None}
    assert defined({"a": float("inf"), "b": 0.5}) == {"a": None, "b": 0.5}


def test_clean_ids_are_spread_over_the_split(datasets: dict[str, Dataset]) -> None:
    dataset = datasets["classification"]
    train = dataset.splits["train"]
    assert clean_ids(dataset).tolist() == train.tolist()
    few = clean_ids(dataset, 5)
    assert len(few) == 5 and few[0] == train[0] and few[-1] == train[-1] and set(few) <= set(train)
    assert max(np.diff(np.searchsorted(train, few))) <= -(-len(train) // 4)


def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="no CUDA device"):
        build_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert build_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(RecipeError, match="cuda:0, cuda:1"):
        build_device("cuda:2")
