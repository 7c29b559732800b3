"""The plan of a run: choices made, data prepared, rate and length settled by measurement, all written down."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from provenet.core.errors import DataError, Fault, listed
from provenet.core.files import read_json, write_json, write_text
from provenet.core.log import Reporter
from provenet.data.dataset import Dataset, prepare, value_names
from provenet.data.index import read_index
from provenet.data.options import DataOptions
from provenet.data.survey import Survey, survey
from provenet.engine.precision import fast_bf16
from provenet.engine.probe import lr_range
from provenet.nets.weights import find_weights
from provenet.recipe.build import Session, build_device, build_session, fit_stats
from provenet.recipe.choose import Choice, Donor, Facts, choose
from provenet.recipe.load import load as load_recipe
from provenet.recipe.load import read_yaml
from provenet.recipe.schema import Recipe, dump_yaml
from provenet.recipe.tree import Overrides, leaves
from provenet.run.budget import measure, plan
from provenet.run.folder import RunFolder
from provenet.run.model import stats_from_json, stats_to_json, store_cache
from provenet.run.provenance import provenance
from provenet.run.request import Request
from provenet.run.seen import seen


def make_plan(folder: RunFolder, request: Request, reporter: Reporter) -> Session:
    """Return the session of a new run; its plan is stored in the folder."""
    session, choices = settle(request, store_cache(folder.path), reporter)
    _store(folder, request, choices, session)
    return session


def settle(request: Request, store: Path, reporter: Reporter) -> tuple[Session, list[Choice]]:
    """Return net and training of a request with everything settled, and the choices that were made for it.

    Args:
        request: what was asked for.
        store: where decoded pictures are kept.
        reporter: hears facts and choices.
    """
    index = read_index(request.data)
    reporter.note(f"{request.data}: {index.layout}")
    options = DataOptions(**(request.overrides.get("data") or {}))
    choices = choose(facts_of(survey(index, options), request.overrides), said_by(request.overrides))
    recipe = load_recipe(request.overrides, {choice.key: choice.value for choice in choices})
    _demand(recipe)
    dataset = prepare(index, recipe.data, store, reporter)
    stats = fit_stats(recipe, dataset)
    session = build_session(recipe, dataset, stats)
    if session.loaded is not None:
        reporter.note(str(session.loaded))
    measured = _measured(session, request)
    choices = list({choice.key: choice for choice in [*choices, *measured]}.values())
    recipe = _with(recipe, measured)
    reporter.note("chosen for these data (any of them can be set as KEY=VALUE):")
    for choice in choices:
        reporter.choice(choice.key, choice.value, choice.reason)
    return build_session(recipe, dataset, stats) if measured else session, choices


def _demand(recipe: Recipe) -> None:
    """Refuse what is not there, before anything is decoded.

    Raises:
        RecipeError: there is no such device, or no weights where `pretrained` says.
    """
    build_device(recipe.device)
    if isinstance(recipe.pretrained, str):
        find_weights(Path(recipe.pretrained))


def said_by(overrides: Overrides) -> dict[str, Any]:
    """Return the user's own values by dotted path."""
    return dict(leaves(overrides.tree))


def facts_of(found: Survey, overrides: Overrides) -> Facts:
    """Return what the automatic choices rest on."""
    device = str(overrides.get("device") or ("cuda" if torch.cuda.is_available() else "cpu"))
    if not len(found.sizes):
        raise DataError(Fault("no sampled picture has a readable header", listed(found.unreadable, 5)))
    return Facts(
        task="classification" if found.task == "classification" else "segmentation",
        num_train=found.num_train,
        num_classes=len(found.classes),
        num_undivided=_undivided(found),
        side=int(np.median(found.sizes.min(axis=1))),
        long_side=int(np.median(found.sizes.max(axis=1))),
        same_size=found.same_size,
        grey=found.all_grey,
        device=device,
        fast_bf16=device.split(":")[0] in ("cpu", "cuda") and _fast(device),
        donor=_donor(overrides.get("pretrained")),
    )


def _undivided(found: Survey) -> int:
    """Return the images that a validation split would be drawn from; 0 where the layout gives one."""
    sizes = {split: sum(counts.values()) for split, counts in found.counts.items()}
    return 0 if "val" in sizes else sizes.get("train", 0) + sizes.get("", 0)


def _fast(device: str) -> bool:
    return (not device.startswith("cuda") or torch.cuda.is_available()) and fast_bf16(torch.device(device))


def _donor(pretrained: Any) -> Donor | None:
    """Return the run that weights are taken from; None when they are no run's."""
    if not isinstance(pretrained, str) or not RunFolder(Path(pretrained)).started:
        return None
    folder = RunFolder(Path(pretrained))
    recipe = load_recipe(read_yaml(folder.recipe))
    stats = stats_from_json(read_json(folder.data)["stats"])
    mean, std = (tuple(value / 255 for value in values) for values in (stats.mean, stats.std))
    return Donor(recipe.task, recipe.net.model_dump(mode="json"), max(recipe.view.size), mean, std)


def _measured(session: Session, request: Request) -> list[Choice]:
    """Return the choices that need measurements: the rate, when it was not said, and the length of a timed run."""
    recipe, settled = session.recipe, []
    if not request.overrides.sets("optimizer.lr"):
        settled += _settle_lr(session)
    if recipe.minutes is not None:
        left = recipe.minutes * 60 - (time.monotonic() - request.started)
        pace = measure(session, session.net)
        said = recipe.val_every if request.overrides.sets("val_every") else None
        found = plan(pace, left, session.job.loader.steps_per_epoch, recipe.minutes, said)
        settled.append(Choice("steps", found.steps, found.reason))
        if said is None:
            settled.append(Choice("val_every", found.val_every, "validations take less than a tenth of the time"))
    return settled


def _settle_lr(session: Session) -> list[Choice]:
    """Return a lower rate when a range test on a copy of the net says that the chosen one is too high."""
    chosen = session.job.lr
    found = lr_range(session.job, session.net, session.optimizer_for, chosen / 30, chosen * 10)
    if found.limit is not None and found.limit < 2 * chosen:
        lr = float(f"{found.limit / 4:.2g}")
        reason = f"a range test blew up at {found.limit:.2g}; a quarter of that instead of {chosen:g}"
        return [Choice("optimizer.lr", lr, reason)]
    if found.limit is None:
        reason = f"usual for this net; a range test stayed stable up to {found.lrs[-1]:.2g}"
    else:
        reason = f"usual for this net; a range test blew up only at {found.limit:.2g}"
    return [Choice("optimizer.lr", chosen, reason)]


def _with(recipe: Recipe, settled: list[Choice]) -> Recipe:
    """Return the recipe with what measurements settled; minutes have become steps."""
    tree = recipe.model_dump(mode="json")
    for choice in settled:
        *blocks, leaf = choice.key.split(".")
        target = tree
        for block in blocks:
            target = target[block]
        target[leaf] = choice.value
        if leaf == "steps":
            tree["minutes"] = None
    return Recipe.model_validate(tree)


def _store(folder: RunFolder, request: Request, choices: list[Choice], session: Session) -> None:
    """Write the plan; provenance comes last and says that it is whole."""
    recipe = session.recipe
    text = dump_yaml(recipe)
    rows = [{"key": c.key, "value": c.value, "reason": c.reason, "by": "auto"} for c in choices]
    said = said_by(request.overrides)
    rows += [{"key": key, "value": value, "reason": "said by the user", "by": "user"} for key, value in said.items()]
    data = data_record(session.dataset, request.data) | {"stats": stats_to_json(session.stats)}
    write_text(folder.recipe, text)
    write_json(folder.choices, rows)
    write_json(folder.data, data)
    found = provenance(text, recipe.device, recipe.precision, data)
    write_json(folder.provenance, found | {"seen": seen(session)})


def data_record(dataset: Dataset, source: str) -> dict[str, Any]:
    """Return the content of `data.json`, statistics apart."""
    return {"source": source, **dataset.describe(), "mask_values": value_names(dataset.store.rule)}
