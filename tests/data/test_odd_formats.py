"""Odd, broken and hostile files: each decoded by a stated rule or refused with a reason, in a child that is limited."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from provenet.data.decode import decode_image
from provenet.data.source import open_source

pytestmark = pytest.mark.data

SECONDS_A_FILE = 5

# Decodes each file named on its input; prints one line a file, before and after, so that a crash or hang has a name.
CHILD = """
import json, resource, signal, sys
import numpy as np
from provenet.data.decode import BadFile, decode_image, decode_mask, probe
from provenet.data.source import open_source
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
source = open_source(sys.argv[1])
for line in sys.stdin:
    name = json.loads(line)
    signal.alarm(int(sys.argv[2]))
    data = source.read(name)
    try:
        if "/masks/" in name:
            mask = decode_mask(data, name)
            size, told = mask.codes.shape, {"values": mask.values, "note": mask.note}
        else:
            picture = decode_image(data, name)
            size = picture.pixels.shape[:2]
            told = {"dtype": str(picture.pixels.dtype), "channels": picture.pixels.shape[2], "note": picture.note,
                    "levels": len(np.unique(picture.pixels)), "ndim": picture.pixels.ndim}
        header = probe(data, name=name)
        told["size"], told["probed"] = list(size), [header.height, header.width]
    except BadFile as bad:
        told = {"bad": bad.reason}
    print(json.dumps([name, told]), flush=True)
"""


@pytest.fixture(scope="module")
def archive(shared_data):
    return shared_data / "odd_formats.zip"


@pytest.fixture(scope="module")
def manifest(archive):
    with zipfile.ZipFile(archive) as files:
        text = files.read("odd_formats/MANIFEST.csv").decode()
    return {row["file"]: row for row in csv.DictReader(text.splitlines())}


@pytest.fixture(scope="module")
def told(archive):
    """Return file -> what the child said of it; a file that killed the child is absent."""
    names = [name for name in open_source(archive).names() if not name.endswith("MANIFEST.csv")]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(archive), str(SECONDS_A_FILE)],
        input="\n".join(map(json.dumps, names)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = dict(json.loads(line) for line in child.stdout.splitlines())
    killer = next((name for name in names if name not in found), None)
    assert child.returncode == 0, f"{killer}: exit {child.returncode}\n{child.stderr[-2000:]}"
    return {name.removeprefix("odd_formats/"): said for name, said in found.items()}


def test_every_file_is_decoded_or_refused_with_a_reason(manifest, told):
    side_files = {"fails/.DS_Store", "fails/._made_resource_fork.jpg", "fails/Thumbs.db"}
    assert set(told) == set(manifest) - side_files
    assert all(said.get("bad") or said["size"] == said["probed"] for said in told.values())


def test_no_file_that_fails_in_pillow_is_shown(told):
    shown = [name for name, said in told.items() if name.startswith("fails/") and "bad" not in said]
    assert shown == []


def test_only_files_with_a_rule_against_them_are_refused(manifest, told):
    refused = {name: said["bad"] for name, said in told.items() if name.startswith("decodes/") and "bad" in said}
    for name, reason in refused.items():
        row = manifest[name]
        assert (
            int(row["frames"]) > 1
            or row["format"] in ("ICO", "PCX")
            or name in ("decodes/made_bitflip.png", "decodes/made_float_nan.tif")
        ), (name, reason)
    frames = {name for name, row in manifest.items() if row["frames"] > "1" and row["format"] not in ("MPO", "ICO")}
    assert {name for name in frames if name.startswith("decodes/")} <= set(refused)


def test_the_shape_is_what_the_header_says(manifest, told):
    for name, said in told.items():
        row = manifest[name]
        if "bad" not in said and "masks/" not in name:
            assert sorted(said["size"]) == sorted((int(row["height"]), int(row["width"]))), name
            assert said["channels"] == expected_channels(row), name


def expected_channels(row):
    # Pillow calls 16-bit grey with alpha RGBA; PngSuite's names tell (colour type 4, 16 bits)
    grey = (
        row["mode"] in ("1", "L", "LA", "I", "F") or row["mode"].startswith("I;16") or row["file"].endswith("4a16.png")
    )
    return 1 if grey else 3


def test_16_bit_files_keep_their_levels(manifest, told):
    deep = [name for name, row in manifest.items() if row["mode"].startswith("I") and name.startswith("decodes/")]
    deep += ["decodes/made_rgb16.png", "decodes/pillow_tiff_16bit_RGB.tiff", "decodes/pngsuite_basn2c16.png"]
    assert all(told[name]["dtype"] == "uint16" for name in deep)
    assert told["decodes/pillow_tiff_16bit_RGB.tiff"]["levels"] > 8000
    assert told["decodes/pillow_9bit.j2k"]["levels"] > 256


def test_16_bit_colors_that_no_decoder_is_sure_of_are_noted(told):
    planar = told["decodes/pillow_tiff_tiled_planar_16bit_RGB.tiff"]
    assert (planar["dtype"], "reduced to 8" in planar["note"]) == ("uint8", True)


def test_bombs_are_refused_before_they_are_decoded(told):
    for name in ("fails/made_bomb_20000x20000.png", "fails/pillow_bmp_b_badwidth.bmp", "fails/pillow_l2rgb_read.bmp"):
        assert "pixels" in told[name]["bad"]


@pytest.fixture(scope="module")
def picture(archive):
    source = open_source(archive)
    return lambda name: decode_image(source.read(f"odd_formats/{name}"), name).pixels.astype(np.int64)


def test_all_orientations_show_the_same_picture(picture):
    original = picture("orientation/Landscape_1.jpg")
    assert original.shape == (267, 400, 3)
    for turn in (0, *range(2, 9)):
        assert np.abs(picture(f"orientation/Landscape_{turn}.jpg") - original).mean() < 6, turn


def test_orientations_of_other_formats_show_the_same_picture(picture):
    original = picture("decodes/pillow_hopper.jpg")
    for name in ("2.jpg", "3.jpg", "7.jpg", "2.webp", "3.webp", "4.webp", "6.webp", "7.webp"):
        assert np.abs(picture(f"decodes/pillow_hopper_orientation_{name}") - original).mean() < 8, name
    page = picture("decodes/pillow_g4_orientation_2.tif")
    for turn in (3, 4, 5, 7):
        assert np.abs(picture(f"decodes/pillow_g4_orientation_{turn}.tif") - page).mean() < 2, turn


def test_one_picture_in_many_formats_is_one_picture(picture):
    original = picture("decodes/made_png_named.jpg")
    for name in ("made_rgba.png", "made_cmyk.jpg", "made_progressive.jpg", "made_webp.webp", "made_no_extension"):
        assert np.abs(picture(f"decodes/{name}") - original).mean() < 8, name
    assert np.abs(picture("decodes/made_palette.png") - original).mean() < 20
    grey = np.asarray(Image.fromarray(original.astype(np.uint8)).convert("L"), np.int64)[..., None]
    for name, scale in (
        ("gray16.png", 257),
        ("gray16.tif", 257),
        ("gray12in16.tif", 16),
        ("float.tif", 257),
        ("la.png", 1),
    ):
        assert np.abs(picture(f"decodes/made_{name}") / scale - grey).mean() < 3, name


def test_red_in_cmyk_is_red(picture):
    red, green, blue = picture("decodes/pillow_pil_sample_cmyk.jpg")[2, 2]
    assert red > 240
    assert max(green, blue) < 60


def test_masks(told):
    masks = {
        name.removeprefix("mask_cases/masks/").partition(".")[0]: said
        for name, said in told.items()
        if "/masks/" in name
    }
    values = {name: said["values"] for name, said in masks.items() if "values" in said}
    assert values["ok_index"] == values["palette"] == values["uint16"] == values["tiff_mask"] == [0, 1, 2]
    assert values["float_mask"] == [0, 1, 2]
    assert (values["bilevel"], values["ok_0_255"], values["all_void"]) == ([0, 1], [0, 255], [255])
    assert values["void255"] == [0, 1, 2, 255]
    assert values["stray_value"] == [0, 1, 2, 37]
    assert values["rgb_colours"] == [[0, 0, 0], [0, 128, 0], [128, 0, 0]]
    assert values["rgba"] == [[0, 0, 0], [255, 255, 255]]
    assert "JPEG" in masks["jpeg_mask"]["bad"]
    assert "truncated" in masks["corrupt_mask"]["bad"]
