"""A trained net with all that belongs to it, read from a run folder: classes, statistics, view, weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from provenet.core.errors import Fault, RecipeError, ResumeError
from provenet.core.log import Reporter
from provenet.data.dataset import Dataset, prepare
from provenet.data.index import read_index
from provenet.engine.checkpoint import Checkpoints
from provenet.engine.feed import Feed
from provenet.recipe.build import build_feed, build_precision
from provenet.recipe.load import load as load_recipe
from provenet.recipe.load import read_yaml
from provenet.recipe.network import build_net
from provenet.recipe.schema import Recipe
from provenet.run.folder import RunFolder
from provenet.techniques.inputs import Stats


@dataclass(frozen=True, eq=False)
class Model:
    """A trained net, ready to answer.

    Args:
        recipe: the run's recipe.
        task: "classification" or "segmentation".
        classes: class names in the order of the logits.
        palette: a colour (r, g, b) a class.
        channels: channels of the pictures that it takes, 1 or 3.
        deep: whether pictures were stored with 16 bits.
        feed: normalises pictures as in training.
        net: in evaluation mode, with the best weights of the run.
        mask_values: class name by mask value as text; empty for classification.
    """

    recipe: Recipe
    task: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    channels: int
    deep: bool
    feed: Feed
    net: nn.Module
    mask_values: dict[str, str]


def load_model(path: Path, device: str | None = None) -> Model:
    """Return the trained net of a run folder.

    Args:
        path: the run folder.
        device: where the net shall live; None: where it was trained, or the CPU where that is not there.

    Raises:
        RecipeError: the folder holds no run.
        ResumeError: the run has no weights yet, or they are damaged.
    """
    folder = RunFolder(path)
    if not folder.started:
        raise RecipeError(Fault(f"{path} holds no run", remedy="name a folder that `provenet train` has filled"))
    recipe = load_recipe(read_yaml(folder.recipe))
    if device is None and recipe.device.startswith("cuda") and not torch.cuda.is_available():
        device = "cpu"
    if device is not None:
        recipe = recipe.model_copy(update={"device": device})
    data = folder.read(folder.data)
    classes = tuple(data["classes"])
    feed = build_feed(recipe, len(classes), stats_from_json(data["stats"]))
    net = build_net(recipe.model_copy(update={"pretrained": False}), len(classes), data["stored"]["channels"])
    net.load_state_dict(_best_weights(folder))
    build_precision(recipe).place(net).eval().requires_grad_(False)
    palette = tuple(tuple(color) for color in data["palette"])
    deep = data["stored"]["dtype"] == "uint16"
    channels, values = data["stored"]["channels"], data.get("mask_values", {})
    return Model(recipe, data["task"], classes, palette, channels, deep, feed, net, values)


def _best_weights(folder: RunFolder) -> dict[str, Any]:
    try:
        return Checkpoints(folder.checkpoints).load_best()
    except ResumeError as error:
        if (folder.checkpoints / "best").exists():
            remedy = "bring the folder checkpoints/best back from a copy, or train again with --restart"
        else:
            remedy = f"let it validate once: provenet resume {folder.path}"
        raise ResumeError([Fault(f"{folder.path} has no usable weights", remedy=remedy), *error.faults]) from error


def stats_to_json(stats: Stats) -> dict[str, Any]:
    """Return input statistics as JSON values."""
    return stats.model_dump(mode="json")


def stats_from_json(values: dict[str, Any]) -> Stats:
    """Return input statistics from JSON values."""
    return Stats.model_validate(values)


def store_cache(run: Path) -> Path:
    """Return where decoded pictures are kept: beside the runs, shared by all runs on the same data."""
    return run.resolve().parent / ".store"


def reopen_data(data: str, recipe: Recipe, folder: RunFolder, reporter: Reporter) -> Dataset:
    """Return the data set of a stored plan.

    Raises:
        ResumeError: the data are no longer what the run was planned with.
    """
    dataset = prepare(read_index(data), recipe.data, store_cache(folder.path), reporter)
    if folder.read(folder.data)["fingerprint"] != dataset.fingerprint():
        remedy = "bring back the files that the run began with, or give another --out for a new run"
        raise ResumeError(Fault(f"the data at {data} have changed since the run began", remedy=remedy))
    return dataset
