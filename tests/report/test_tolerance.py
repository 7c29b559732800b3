"""Every key of a record is optional: without it, or with null or a text in its place, the page is still written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from provenet.records import RunRecord
from provenet.report.run import run_page

RunMaker = Callable[..., Path]
Route = tuple[str | int, ...]


def routes(value: Any, so_far: Route = ()) -> Iterator[Route]:
    """Yield the way to every value in a record; the first of a list, or of the splits, stands for all."""
    if so_far:
        yield so_far
    if isinstance(value, dict):
        for key, item in list(value.items())[: 1 if so_far == ("splits",) else None]:
            yield from routes(item, (*so_far, key))
    elif isinstance(value, list) and value:
        yield from routes(value[0], (*so_far, 0))


def changed(record: dict[str, Any], route: Route, instead: Any) -> dict[str, Any]:
    """Return a copy with one value replaced, or left out where `instead` is `...`."""
    found = copy.deepcopy(record)
    parent: Any = found
    for key in route[:-1]:
        parent = parent[key]
    if instead is ...:
        del parent[route[-1]]
    else:
        parent[route[-1]] = instead
    return found


@pytest.mark.parametrize("task", ["classification", "segmentation"])
@pytest.mark.parametrize("part", ["result", "data", "views", "recipe", "provenance"])
@pytest.mark.parametrize("instead", [..., None, "text"], ids=["absent", "null", "text"])
def test_the_page_is_written_whatever_is_missing(make_run: RunMaker, task: str, part: str, instead: Any) -> None:
    record = RunRecord.read(make_run(task=task, classes=("a", "b"), num_epochs=2, num_views=1))
    whole = getattr(record, part)
    for route in routes(whole):
        page = run_page(replace(record, **{part: changed(whole, route, instead)}))
        assert page.rstrip().endswith("</html>"), route
