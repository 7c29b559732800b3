"""Donors: nets trained on other classes or other images, whose first layers the nets of a claim begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from provenet.claims.lab import CLASSIFICATION, Bench, Lab
from provenet.core.rng import numpy_generator
from provenet.data.dataset import Ids
from provenet.nets.net import Net
from provenet.recipe.build import Session
from provenet.techniques.transfer import Transfer, names_of

FEWEST_CLASSES = 4
"""Below, a half of the classes is one class, and there is nothing to tell apart."""


@dataclass(frozen=True, eq=False)
class Halves:
    """Training images cut in two by their classes; no image is in two of the parts.

    Args:
        classes: those that a net is to learn, half of all, drawn by the seed.
        few: few labelled images of these classes; all of them are among `more`.
        more: more of them.
        same: other images of these classes, for a donor.
        other: as many images of the other classes, for a donor.
    """

    classes: Ids
    few: Ids
    more: Ids
    same: Ids
    other: Ids


def bench_of(lab: Lab) -> Bench:
    """Return the classification data, or digits where they have too few classes to be halved."""
    bench = lab.classification
    return bench if len(bench.dataset.classes) >= FEWEST_CLASSES else Bench(lab, "digits", CLASSIFICATION)


def halve(bench: Bench, seed: int, sizes: tuple[int, int, int]) -> Halves:
    """Cut the training images by classes; smaller data sets give less of everything.

    Args:
        bench: the data.
        seed: draws the classes and the images.
        sizes: images of the learnt classes: few, more, and those of a donor.
    """
    labels, num_classes = bench.dataset.labels, len(bench.dataset.classes)
    assert labels is not None
    classes = np.sort(numpy_generator(seed, "claims halves").permutation(num_classes)[: num_classes // 2])
    factor = num_classes / len(classes)
    room = int(bench.num_train / factor)
    more = min(sizes[1], room // 3)
    few, given = min(sizes[0], more // 4), min(sizes[2], room - more)
    labelled, all_ids = (bench.part("train", round(factor * num), seed) for num in (more, more + given))
    free = np.setdiff1d(all_ids, labelled)
    return Halves(
        classes=classes,
        few=_of(labels, bench.part("train", round(factor * few), seed), classes),
        more=_of(labels, labelled, classes),
        same=_of(labels, free, classes),
        other=free[~np.isin(labels[free], classes)],
    )


def _of(labels: Ids, ids: Ids, classes: Ids) -> Ids:
    """Return the samples that are of some classes."""
    return ids[np.isin(labels[ids], classes)]


def among(session: Session, classes: Sequence[int] | Ids) -> Session:
    """Return a session that is scored on images of some classes only; the head keeps an output for each class."""
    dataset = session.dataset
    assert dataset.labels is not None
    splits = {name: _of(dataset.labels, ids, np.asarray(classes)) for name, ids in dataset.splits.items()}
    return replace(session, dataset=replace(dataset, splits=splits))


def first_layers(net: Net, num_groups: int) -> dict[str, Tensor]:
    """Return the tensors of the first groups of a net's parameters, with the buffers that lie beside them.

    Args:
        net: the donor.
        num_groups: how many groups, input first.
    """
    places = {name.rpartition(".")[0] for name in names_of(net.groups()[:num_groups])}
    return {name: values for name, values in net.state_dict().items() if name.rpartition(".")[0] in places}


def transplanted(session: Session, donor: Net, num_groups: int, transfer: Transfer) -> Session:
    """Return a session whose net begins with a donor's first layers.

    Args:
        session: net and training, not begun; its net is filled in place.
        donor: a trained net of the same make.
        num_groups: how many groups of parameters are taken, input first.
        transfer: what of the net learns, and when.
    """
    layers = first_layers(donor, num_groups)
    session.net.load_state_dict({**session.net.state_dict(), **layers})
    recipe = session.recipe.model_copy(update={"transfer": transfer})
    return replace(session, recipe=recipe, job=replace(session.job, transfer=transfer))
