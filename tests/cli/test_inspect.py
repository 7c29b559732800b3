"""`provenet inspect`."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Decoded pictures go below the working folder."""
    monkeypatch.chdir(tmp_path)


def test_what_is_there_is_told(photos, call):
    code, shown, errors = call("inspect", photos)
    assert (code, errors) == (0, "")
    for text in ("classification, 3 classes", "train 42 images (a 14, b 14, c 14)", "test  9 images", "uint16"):
        assert text in shown


def test_masks_are_counted(cells, call):
    found = json.loads(call("inspect", cells, "--json")[1])
    assert found["task"] == "segmentation"
    values = {value: pixels for value, pixels, _ in found["mask_census"]}
    total = 8 * 40 * 48 + 8 * 41 * 37
    assert values == {0: total - 16 * 14 * 14, 255: 16 * 14 * 14}


def test_options_about_data_count_and_no_others(photos, call):
    assert json.loads(call("inspect", photos, "data.val_frac=0.3", "--json")[1])["num_images"]["val"] == 18
    code, _, errors = call("inspect", photos, "epochs=3")
    assert code == 2
    assert "epochs" in errors
