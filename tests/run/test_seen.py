"""Hashes of what a training sees: equal where two recipes share randomness, different where they do not."""

from __future__ import annotations

import pytest

from provenet.core.log import Silent
from provenet.data.dataset import prepare
from provenet.data.index import read_index
from provenet.data.options import DataOptions
from provenet.recipe.build import build_session, fit_stats
from provenet.recipe.load import load
from provenet.recipe.words import parse_words
from provenet.run.memory import peak_memory_mib, reset_peak
from provenet.run.seen import seen

WORDS = "net=resnet net.depth=8 view.size=[8,8] batch_size=16 steps=2 augment=shift,brightness"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return prepare(read_index("digits"), DataOptions(limit=200), tmp_path_factory.mktemp("store"), Silent())


def hashes(dataset, words: str = "") -> dict[str, str]:
    recipe = load(parse_words(words.split()), parse_words(WORDS.split()).tree)
    return seen(build_session(recipe, dataset, fit_stats(recipe, dataset)))


def test_equal_recipes_see_the_same(dataset):
    assert hashes(dataset) == hashes(dataset)


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ("batch_size=8", set()),
        ("inputs=scale01", set()),
        ("optimizer.lr=0.5", set()),
        ("augment=shift", {"draws"}),
        ("augment=shift,brightness augment.shift.max_px=3", {"draws"}),
        ("init=xavier", {"init"}),
        ("seed=1", {"order", "draws", "init"}),
        ("imbalance=sampler", {"order", "draws"}),
    ],
)
def test_only_what_a_recipe_changes_looks_different(dataset, words, changed):
    before, after = hashes(dataset), hashes(dataset, words)
    assert {key.split("/")[0] for key in before if before[key] != after[key]} == changed


def test_nets_that_differ_share_the_tensors_that_both_have(dataset):
    before, after = hashes(dataset), hashes(dataset, "norm=none")
    # the last layer of a branch begins at zero where it has no norm whose scale could
    shared = {key for key in before if key in after and key.endswith(("conv1.weight", "shortcut.conv.weight"))}
    assert len(shared) > 3 and all(before[key] == after[key] for key in shared)


def test_the_peak_is_measured_anew():
    import mmap

    import torch

    cpu, size = torch.device("cpu"), 64 * 2**20
    reset_peak(cpu)
    before = peak_memory_mib(cpu)
    if before is None:
        pytest.skip("this system does not tell")
    block = mmap.mmap(-1, size)  # fresh pages, whatever the allocator has kept
    block.write(b"x" * size)
    grown = peak_memory_mib(cpu)
    assert grown is not None and grown - before > 48
    block.close()
    reset_peak(cpu)
    after = peak_memory_mib(cpu)
    assert after is not None and after < grown - 32
