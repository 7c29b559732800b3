"""Tiny trainings on real files: a recipe with one member of one slot, on the first base that has a place for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import save_file

from provenet.core.log import Silent
from provenet.core.spec import Technique, members
from provenet.data.dataset import Dataset, prepare
from provenet.data.index import read_index
from provenet.data.options import DataOptions
from provenet.recipe.build import Session, build_session, fit_stats
from provenet.recipe.conflicts import conflicts
from provenet.recipe.load import load
from provenet.recipe.nets_spec import Net
from provenet.recipe.schema import Recipe
from provenet.recipe.words import parse_words

COMMON = ("batch_size=8", "steps=5", "precision=fp32", "optimizer.lr=0.02", "average=none")
CLASSIFIER = (*COMMON, "task=classification", "net=resnet", "net.depth=8", "view.size=[8,8]")
SEGMENTER = (*COMMON, "task=segmentation", "net=unet", "net.width=4", "net.levels=1", "view.size=[16,16]")
BASES = (CLASSIFIER, (*SEGMENTER, "view.resize=window"))
FILLED = {slot for member in members(Net) for slot in member.slots}
"""The slots for which not every net has a place."""


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory, photos: Path, cells: Path) -> dict[str, Dataset]:
    """Data by task: 16 photographs to train on, two updates an epoch; some ten pictures of cells."""
    cache = tmp_path_factory.mktemp("stores")
    options = DataOptions(limit=16, max_side=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("provenet.data.build.num_decoders", lambda _: 0)
        found = [prepare(read_index(str(data)), options, cache, Silent()) for data in (photos, cells)]
    return {dataset.task: dataset for dataset in found}


@pytest.fixture(scope="session")
def build(datasets: dict[str, Dataset]) -> Callable[[Recipe], Session]:
    """Return a function: recipe -> net and training, all of it new."""

    def make(recipe: Recipe) -> Session:
        dataset = datasets[recipe.task]
        return build_session(recipe, dataset, fit_stats(recipe, dataset))

    return make


@pytest.fixture(scope="session")
def recipe_with(
    tmp_path_factory: pytest.TempPathFactory, build: Callable[[Recipe], Session]
) -> Callable[[str, Technique], Recipe]:
    """Return a function: slot, member -> a recipe with it; for transfer, with the weights of another net."""
    donor = tmp_path_factory.mktemp("donor") / "weights.safetensors"
    net = build(load(parse_words([*CLASSIFIER, "seed=7"]))).net
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, donor)

    def make(slot: str, member: Technique) -> Recipe:
        changes = {slot: (member,) if slot == "augment" else member}
        if slot == "transfer":
            changes["pretrained"] = str(donor)
        tried = [load(parse_words(words)).model_copy(update=changes) for words in BASES]
        has_place = [recipe for recipe in tried if slot not in FILLED or slot in recipe.net.used()]
        return next(recipe for recipe in has_place if not conflicts(recipe))

    return make
