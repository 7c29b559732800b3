"""`provenet recipe`: look at recipes before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

recipe_app = typer.Typer(no_args_is_help=True, help="The resolved recipe, its faults, and how two recipes differ.")

Words = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Values, as in epochs=10 norm=group.")
]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", metavar="FILE", help="A recipe file (YAML).")]
FileOrRun = Annotated[Path, typer.Argument(help="A recipe file or a run folder.")]


@recipe_app.command()
def show(words: Words = None, recipe: RecipeFile = None) -> None:
    """Print the recipe with every default written out, as YAML. What is chosen from the data keeps its default."""
    from provenet.recipe.schema import dump_yaml
    from provenet.recipe.show import resolve

    typer.echo(dump_yaml(resolve(recipe, words or [])), nl=False)


@recipe_app.command()
def check(file: Annotated[Path, typer.Argument(help="A recipe file (YAML).")]) -> None:
    """Say "ok", or everything that is wrong with a recipe file (exit code 2)."""
    from provenet.recipe.show import resolve

    resolve(file, [])
    typer.echo("ok")


@recipe_app.command()
def diff(a: FileOrRun, b: FileOrRun) -> None:
    """Print every value in which two recipes differ, one a line: path, value in A, value in B."""
    from provenet.recipe.diff import differences
    from provenet.recipe.show import read_recipe
    from provenet.recipe.text import shown

    found = differences(read_recipe(a), read_recipe(b))
    for path, first, second in found:
        typer.echo(f"{path}: {shown(first)} -> {shown(second)}")
    if not found:
        typer.echo("no difference")


@recipe_app.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    import json

    from provenet.recipe.schema import Recipe

    typer.echo(json.dumps(Recipe.model_json_schema(), indent=1))
