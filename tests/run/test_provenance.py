"""Where a result comes from."""

from __future__ import annotations

import hashlib
import json

import torch

from provenet.run.provenance import differences, fingerprint


def test_a_run_says_where_it_comes_from(photo_run):
    found = json.loads((photo_run / "provenance.json").read_text())
    assert torch.__version__.startswith(found["versions"]["torch"].split("+")[0])
    assert found["recipe_sha256"] == hashlib.sha256((photo_run / "recipe.yaml").read_bytes()).hexdigest()
    assert found["data_fingerprint"] == json.loads((photo_run / "data.json").read_text())["fingerprint"]
    assert found["fingerprint"]["threads"] == 1
    assert {"system", "processor", "cores", "memory_gib"} <= found["machine"].keys()


def test_what_differs_is_said():
    here = fingerprint("cpu", "fp32")
    assert differences(here, here) == []
    assert differences(here | {"threads": 99}, here) == [f"threads was 99 and is {here['threads']}"]
    without = {key: value for key, value in here.items() if key != "torch"}
    assert len(differences(without, here)) == 1
