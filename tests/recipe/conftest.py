"""Shorthands of the recipe tests."""

from collections.abc import Callable

import pytest

from provenet.core.errors import Fault, RecipeError
from provenet.recipe.load import from_text, load
from provenet.recipe.tree import Overrides
from provenet.recipe.words import parse_words


@pytest.fixture
def faults() -> Callable[..., tuple[Fault, ...]]:
    """Return the faults of words, or of a recipe's text and words; empty when there are none."""

    def find(*words: str, text: str = "", automatic: dict | None = None) -> tuple[Fault, ...]:
        overrides = from_text(text, "recipe.yaml") if text else Overrides()
        try:
            load(overrides.then(parse_words(words)), automatic)
        except RecipeError as error:
            assert error.exit_code == 2
            return error.faults
        return ()

    return find
