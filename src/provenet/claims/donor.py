"""Donors: nets trained on other classes or other images, whose first layers the nets of a claim begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from provenet.claims.lab import CLASSIFICATION, Bench, Lab
from provenet.claims.training import Trained, fit
from provenet.core.rng import numpy_generator
from provenet.data.dataset import Ids
from provenet.nets.net import Net
from provenet.recipe.build import Session
from provenet.techniques.transfer import Transfer, names_of

FINE_RATES = (0.01, 0.05)
"""Rates of fine-tuning, a tenth and a half of that from scratch: in few updates a tenth may not get far."""
FEWEST_CLASSES = 4
"""Below, a half of the classes is one class, and there is nothing to tell apart."""


@dataclass(frozen=True, eq=False)
class Half:
    """One half of the classes with its training images.

    Args:
        classes: the classes.
        few: few labelled images of them; all of them are among `more`.
        more: more of them.
        donor: other images of them, for a donor.
    """

    classes: Ids
    few: Ids
    more: Ids
    donor: Ids


def bench_of(lab: Lab) -> Bench:
    """Return the classification data, or digits where they have too few classes to be halved."""
    bench = lab.classification
    return bench if len(bench.dataset.classes) >= FEWEST_CLASSES else Bench(lab, "digits", CLASSIFICATION)


def halve(bench: Bench, seed: int, sizes: tuple[int, int, int]) -> tuple[Half, Half]:
    """Cut the classes into halves at random; smaller data sets give fewer images of everything.

    Args:
        bench: the data.
        seed: draws the classes and the images.
        sizes: images of a half: few, more, and those of a donor.
    """
    labels, num_classes = bench.dataset.labels, len(bench.dataset.classes)
    assert labels is not None
    drawn = numpy_generator(seed, "claims halves").permutation(num_classes)
    room = bench.num_train // 2
    more = min(sizes[1], room // 3)
    few, donor = min(sizes[0], more // 4), min(sizes[2], room - more)
    labelled, everything = (bench.part("train", 2 * num, seed) for num in (more, more + donor))
    parts = (bench.part("train", 2 * few, seed), labelled, np.setdiff1d(everything, labelled))
    one, other = (
        Half(np.sort(classes), *(_of(labels, ids, classes) for ids in parts))
        for classes in (drawn[: num_classes // 2], drawn[num_classes // 2 :])
    )
    return one, other


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


def fine_tuned(begin: Callable[[str], Session]) -> Trained:
    """Return the training with the rate that does best on validation images.

    Args:
        begin: from the setting of a rate to a session that is ready to be trained.
    """
    runs = [fit(begin(f"optimizer.lr={rate:g}")) for rate in FINE_RATES]
    return max(runs, key=lambda run: run.looks[-1].val)
