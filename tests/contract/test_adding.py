"""`docs/adding-a-technique.md` is true: its class and its name in the union, put into a copy of the source, suffice."""

from __future__ import annotations

import ast
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SLOT = ROOT / "src" / "provenet" / "techniques" / "schedule.py"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
UNION = re.compile(r"Add ` \| (\w+)` behind the last name of the union `(\w+)`")
IMPORTS = "import numpy as np\nimport pytest\nfrom provenet.techniques.schedule import Trapezoid\n\n\n"


def page() -> tuple[list[str], str, str]:
    """Return the page's three blocks of Python (the class, its test, its use), the class's name, the union's name."""
    text = (ROOT / "docs" / "adding-a-technique.md").read_text()
    blocks, named = BLOCK.findall(text), UNION.search(text)
    assert len(blocks) == 3
    assert named
    return blocks, named[1], named[2]


def with_member(source: str, block: str, member: str, union: str) -> str:
    """Return a slot's source with a class in front of its union, and the class's name as the union's last."""
    statement = next(
        node for node in ast.parse(source).body if isinstance(node, ast.Assign) and node.targets[0].id == union
    )
    names = statement.value.slice.elts[0]
    lines = source.splitlines(keepends=True)
    line, column = names.end_lineno - 1, names.end_col_offset
    lines[line] = f"{lines[line][:column]} | {member}{lines[line][column:]}"
    return "".join([*lines[: statement.lineno - 1], block, "\n\n", *lines[statement.lineno - 1 :]])


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the package that has the page's member, and the page's test."""
    folder = tmp_path_factory.mktemp("adding")
    shutil.copytree(
        ROOT / "src" / "provenet", folder / "src" / "provenet", ignore=shutil.ignore_patterns("__pycache__")
    )
    (block, test, _), member, union = page()
    (folder / SLOT.relative_to(ROOT)).write_text(with_member(SLOT.read_text(), block, member, union))
    (folder / "test_trapezoid.py").write_text(IMPORTS + test)
    return folder


def python(copied: Path, *words: object) -> str:
    """Run Python on the copy and return what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(copied / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=copied, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_passes_the_contract_and_its_own_test(copied):
    options = (
        "-v",
        "-c",
        ROOT / "pyproject.toml",
        "-o",
        "addopts=",
        "-p",
        "no:cacheprovider",
        "--import-mode=importlib",
    )
    files = (
        *sorted(path for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__)),
        ROOT / "tests" / "techniques" / "test_schedule.py",
        copied / "test_trapezoid.py",
    )
    shown = python(copied, "-m", "pytest", *options, "-k", "trapezoid or names", *files)
    passed = re.findall(r"::(test_\w+).* PASSED", shown)
    on_the_member = {
        *("test_defaults_build_and_are_frozen", "test_json_round_trip_through_the_union"),
        *("test_docstring_has_a_summary_and_all_four_parts", "test_source_says_who_when_what_and_where"),
        *("test_every_field_is_described", "test_numbers_are_bounded_where_not_every_number_makes_sense"),
        *("test_factors_stay_between_0_and_1_and_do_not_rise_after_the_peak", "test_names_are_unique_in_a_slot"),
        *("test_same_keys_give_same_bytes_and_resume_equals_unbroken", "test_trapezoid_is_flat_and_then_straight"),
        "test_a_step_of_every_member_has_finite_gradients",
    }
    assert on_the_member <= set(passed)


def test_the_example_trains_from_python(copied):
    (_, _, use), _, _ = page()
    python(copied, "-c", use)
    run = copied / "runs" / "trapezoid"
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    assert recipe["schedule"]["name"] == "trapezoid"
    rows = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
    factors = np.interp(np.linspace(0, 1, 9), [0, 0.5, 1], [1, 1, 0])
    np.testing.assert_allclose([row["lr"] for row in rows], recipe["optimizer"]["lr"] * factors, rtol=1e-9, atol=1e-12)
    assert (run / "result.json").exists()


def test_the_example_shows_up_in_the_list_and_on_its_page(copied):
    use = "from provenet.cli.main import run; run(['techniques']); run(['techniques', '--pages', 'pages'])"
    assert "schedule.trapezoid " in python(copied, "-c", use)
    shown = (copied / "pages" / "schedule.md").read_text()
    assert "\n## trapezoid\n" in shown
    assert "| `schedule.decay_frac` | a number above 0 up to 1 | `0.2` |" in shown


def test_the_two_steps_add_a_class_and_change_one_line():
    (block, _, _), member, union = page()
    before = SLOT.read_text()
    after = with_member(before, block, member, union)
    (gone,) = [line[2:] for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line.startswith("- ")]
    (new,) = [line for line in after.splitlines() if " | Trapezoid" in line]
    assert new.replace(" | Trapezoid", "") == gone
    assert block in after
