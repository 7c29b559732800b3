"""Functions of the user's that give the arguments: found, carried out, and refused with what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from provenet.core.errors import RecipeError
from provenet.doctor.called import arguments, names_function

NETS = """
import torch
from torch import nn

SIZE = 4


def sound(width=8):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))
    return {"model": net, "batches": [(torch.randn(8, 1, 2, 2), torch.arange(8) % 3)], "loss_fn": nn.CrossEntropyLoss()}


def misspelled():
    return sound() | {"optimiser": None}


def bare():
    return {"model": sound()["model"]}


def listed():
    return list(sound().values())


def fails():
    print("on the way")
    return nn.Linear(4, 3)(torch.zeros(2, 5))


def ends():
    raise SystemExit(3)
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a package of nets; nothing of it stays imported."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "nets.py").write_text(NETS)
    (tmp_path / "lab" / "broken.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "lab" / "unfinished.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "lab"]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def refused(name: str) -> str:
    with pytest.raises(RecipeError) as caught:
        arguments(name)
    for module in [module for module in sys.modules if module.partition(".")[0] == "lab"]:
        del sys.modules[module]
    return str(caught.value)


@pytest.mark.parametrize(
    ("what", "function"),
    [
        ("lab.nets:sound", True),
        ("nets:sound", True),
        ("lab/nets.py:sound", True),
        ("torchvision:MNIST", False),
        ("digits", False),
        ("photos/cats.zip", False),
        ("C:/photos", False),
        ("https://a.b/c", False),
        ("lab.nets:", False),
    ],
)
def test_a_function_is_told_from_data(what, function):
    assert names_function(what) is function


def test_what_exists_as_a_folder_is_data(lab):
    (lab / "my:photos").mkdir()
    assert not names_function("my:photos")


def test_the_current_folder_can_be_imported_from(lab):
    given = arguments("lab.nets:sound")
    assert set(given) == {"model", "batches", "loss_fn"}
    assert refused("lab.nets:fails")  # and nothing of it stays for the next test


def test_what_is_not_there_is_named_with_a_near_name(lab):
    assert "there is no module nowhere" in refused("nowhere.nets:sound")
    assert "there is no module lab.nest" in refused("lab.nest:sound")
    said = refused("lab.nets:sond")
    assert "has no function sond" in said and "did you mean 'sound'?" in said
    assert "lab.nets:SIZE is no function; got int" in refused("lab.nets:SIZE")
    assert "give lab.nets:sound." in refused("lab/nets.py:sound")
    assert f"give nets:sound from the folder {lab / 'lab'}." in refused(f"{lab}/lab/nets.py:sound")


def test_a_module_that_cannot_be_imported_says_why(lab):
    said = refused("lab.broken:f")
    assert "No module named 'nothing_of_that_name'" in said and "broken.py:1" in said
    assert "SyntaxError" in refused("lab.unfinished:f")


def test_a_function_that_raises_is_named_with_its_line_and_keeps_the_cause(lab):
    with pytest.raises(RecipeError, match=r"lab.nets:fails raises an exception; got RuntimeError: .*shapes") as caught:
        arguments("lab.nets:fails")
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert caught.value.faults[0].where.rpartition(":")[0].endswith(".py")
    assert "got SystemExit: 3" in refused("lab.nets:ends")


def test_what_a_function_returns_is_checked(lab):
    said = refused("lab.nets:misspelled")
    assert "'optimiser'" in said and "did you mean 'optimizer'?" in said
    assert "lacks batches, loss_fn" in refused("lab.nets:bare")
    assert "does not return a dict; got list" in refused("lab.nets:listed")
