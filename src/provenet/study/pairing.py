"""What the arms of a study had in common, told from hashes of what their cells saw."""

from __future__ import annotations

from provenet.records.study import Design
from provenet.study.measures import Cells
from provenet.study.sentences import counted, joined

INIT = "init/"
"""Before the name of a parameter in `Cell.seen`."""
_NAMED = 4
"""Parameters that a sentence names."""


def held_equal(design: Design, cells: Cells) -> dict[str, str]:
    """Return what was the same in the arms of a seed, a sentence a thing.

    Args:
        design: the study.
        cells: its cells, with the hashes of what they saw; a cell without hashes is not spoken of.

    Returns:
        Sentences by name: "split", "order", "draws" and what else was hashed, and "init" for the initial values of
        the parameters that an arm and the baseline both have, told apart by name.
    """
    things = dict.fromkeys(key for cell in cells.values() for key in cell.seen if not key.startswith(INIT))
    sentences = {thing: _sentence(design, cells, thing) for thing in things}
    if any(key.startswith(INIT) for cell in cells.values() for key in cell.seen):
        sentences["init"] = _init_sentence(design, cells)
    return sentences


def _seen(design: Design, cells: Cells, arm: str) -> list[tuple[dict[str, str], dict[str, str]]]:
    """Return what the baseline and an arm saw, seed by seed, where both are known."""
    pairs = []
    for seed in design.seeds:
        first, second = cells.get((design.arms[0].name, seed)), cells.get((arm, seed))
        if first and second and first.seen and second.seen:
            pairs.append((first.seen, second.seen))
    return pairs


def _sentence(design: Design, cells: Cells, thing: str) -> str:
    known, differ = 0, []
    for arm in design.arms[1:]:
        pairs = [(a[thing], b[thing]) for a, b in _seen(design, cells, arm.name) if thing in a and thing in b]
        num = sum(first != second for first, second in pairs)
        known += bool(pairs)
        if num:
            differ.append(f"{arm.name} (in {num} of {counted(len(pairs), 'seed')})")
    if not known:
        return "no arm has a finished cell beside the baseline's"
    if not differ:
        return "the same in all arms of a seed"
    rest = "; in all other arms the same" if known > len(differ) else ""
    return f"another than the baseline's in {joined(differ)}{rest}"


def _init_sentence(design: Design, cells: Cells) -> str:
    """Return how many shared parameters began equal, arms that have the same to say together."""
    arms: dict[str, list[str]] = {}
    for arm in design.arms[1:]:
        if pairs := _seen(design, cells, arm.name):
            arms.setdefault(_shared_parameters(pairs), []).append(arm.name)
    if not arms:
        return "no arm has a finished cell beside the baseline's"
    if len(arms) == 1:
        return next(iter(arms))
    return "; ".join(f"{joined(names)}: {text}" for text, names in arms.items())


def _shared_parameters(pairs: list[tuple[dict[str, str], dict[str, str]]]) -> str:
    shared = list(dict.fromkeys(key for a, b in pairs for key in a if key.startswith(INIT) and key in b))
    differ = [key.removeprefix(INIT) for key in shared if any(a.get(key) != b.get(key) for a, b in pairs)]
    if not shared:
        return "arm and baseline share no tensor by name"
    text = f"{len(shared) - len(differ)} of {len(shared)} tensors that arm and baseline share by name are equal"
    if not differ:
        return text
    named = differ if len(differ) <= _NAMED else [*differ[:_NAMED], f"{len(differ) - _NAMED} more"]
    return f"{text}; differ: {joined(named)}"
