"""Requests: what is stored of them, when two are the same."""

from __future__ import annotations

import os

import pytest

from provenet.core.errors import DataError, ResumeError
from provenet.core.log import Silent
from provenet.recipe.words import parse_words
from provenet.run.request import Request, located, request_of, same_request
from provenet.run.train import Listeners, train


def test_a_path_is_stored_as_absolute_and_a_name_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert located("pics/../pics") == str(tmp_path / "pics")
    assert located("digits") == "digits"
    assert located("torchvision:CIFAR10") == "torchvision:CIFAR10"


def test_a_request_is_read_back_from_anywhere(photo_run, photos, photo_words, monkeypatch, tmp_path):
    words = parse_words(photo_words)
    assert same_request(photo_run, str(photos), words)
    assert same_request(photo_run, os.path.relpath(photos), words)
    assert not same_request(photo_run, str(photos), parse_words([*photo_words, "seed=3"]))
    assert not same_request(photo_run, "digits", words)
    monkeypatch.chdir(tmp_path)
    stored = request_of(photo_run)
    assert (stored.data, stored.overrides.tree) == (str(photos), words.tree)
    with pytest.raises(ResumeError, match="holds no run"):
        request_of(tmp_path)


def test_what_is_refused_leaves_nothing_and_what_was_there_before_stays(tmp_path):
    (tmp_path / "run").mkdir()
    for out in (tmp_path / "run", tmp_path / "new" / "run"):
        with pytest.raises(DataError):
            train(Request(str(tmp_path / "nothing"), parse_words([]), out), Listeners(Silent()))
        assert not out.exists()
