"""Several questions at once: corrections that hold for any dependence between the answers."""

from __future__ import annotations

from collections.abc import Sequence


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Return p values that can be compared with a level that is shared by all of them.

    In ascending order the i-th of M values (i = 0, 1, ...) becomes max over j <= i of min(1, (M - j) * p_j). The chance
    of any false call is then at most the level, whatever the tests have to do with each other (arms share a baseline).

    Args:
        ps: p values in [0, 1]; None where there was nothing to test: it stays None and does not count in M.

    Returns:
        Corrected p values, in the order of `ps`.

    Source: Holm (1979). A simple sequentially rejective multiple test procedure.

    Example:
        >>> holm([0.01, None, 0.04, 0.03])
        [0.03, None, 0.06, 0.06]
    """
    tested = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        corrected[place] = largest
    return corrected


def shared_level(level: float, num: int) -> float:
    """Return the level of each of `num` tests or intervals that together keep `level` (Bonferroni).

    Args:
        level: chance of any false call, in (0, 1).
        num: number of tests; without any the level is nobody's to share.

    Source: Dunn (1961). Multiple comparisons among means.

    Example:
        >>> shared_level(0.05, 5), shared_level(0.05, 0)
        (0.01, 0.05)
    """
    return level / max(num, 1)
