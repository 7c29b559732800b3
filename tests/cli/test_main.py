"""The command line as a whole: help, near verbs, exit codes, whatever the words."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenet.cli import main as module
from provenet.core.errors import Fault, StorageError

DOCUMENTED = {0, 2, 3, 5, 8}
WORDS = [
    *("inspect", "train", "resume", "evaluate", "predict", "techniques", "report", "recipe", "show", "check", "diff"),
    *("nowhere", "norm.group", "epochs=-1", "seed=1", "net.dpth=3", "=", "a=b=c", "augment=[flip", "--out", "--json"),
    *("--recipe", "--help", "--tta", "--tiles", "7", "-1", "--save-every", "", "ä b", "--traceback", "--", "-x"),
]


def test_no_words_give_the_help(call):
    code, shown, _ = call()
    assert code == 2
    assert "inspect" in shown
    assert "techniques" in shown


def test_a_near_verb_is_named(call):
    code, _, errors = call("trian", "digits")
    assert code == 2
    assert "Did you mean 'train'?" in errors


def test_an_unknown_option_is_a_usage_error(call):
    code, shown, errors = call("train", "digits", "--bogus")
    assert (code, "Traceback" in shown + errors) == (2, False)


def test_where_an_error_was_raised_is_shown_on_request(call, tmp_path):
    assert "Traceback" not in call("train", tmp_path / "none")[2]
    assert "Traceback" in call("--traceback", "train", tmp_path / "none")[2]
    assert "Traceback" not in call("train", tmp_path / "none")[2]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StorageError(Fault("full")), 5),
        (OSError(28, "No space left on device", "x"), 5),
        (PermissionError(13, "Permission denied", "x"), 5),
        (MemoryError(), 7),
    ],
)
def test_errors_become_exit_codes(call, monkeypatch, error, code):
    def fail(*_):
        raise error

    monkeypatch.setattr(module, "app", fail)
    assert call("anything")[0] == code


def test_a_bug_is_not_hidden(monkeypatch):
    def fail(*_):
        raise FileNotFoundError(2, "No such file")

    monkeypatch.setattr(module, "app", fail)
    with pytest.raises(FileNotFoundError):
        module.run([])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.sampled_from(WORDS), max_size=5))
def test_any_words_end_with_a_documented_code(call, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    code, shown, errors = call(*[word for word in words if word != "--traceback"])
    assert code in DOCUMENTED
    assert "Traceback" not in shown + errors
    assert (errors != "") or code in (0, 2)
