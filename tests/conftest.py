"""What all tests share: the development images, one thread for torch, the same examples in every run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

settings.register_profile("provenet", derandomize=True, deadline=None, database=None, max_examples=30)
settings.load_profile("provenet")


@pytest.fixture(autouse=True, scope="session")
def interrupts() -> None:
    """Ctrl-C is heard, also where a shell started the tests in its background and thereby switched it off."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums keep one order and test workers do not fight for cores; tests that never import torch pay nothing."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of development images beside the repository; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the repository")
    return folder


PHOTO_WORDS = (
    *("steps=14", "batch_size=8", "net=resnet", "net.depth=8", "view.size=[16,16]", "data.max_side=20"),
    *("dropout=dropout", "augment=[flip,noise]", "val_every=0.5"),
)
CELL_WORDS = ("steps=6", "batch_size=4", "net=unet", "net.width=4", "net.levels=2", "view.size=[16,16]")


@pytest.fixture(scope="session")
def photo_words() -> tuple[str, ...]:
    """Recipe words for `photos`: small, and with everything that draws random numbers."""
    return PHOTO_WORDS


@pytest.fixture(scope="session")
def cell_words() -> tuple[str, ...]:
    """Recipe words for `cells`."""
    return CELL_WORDS


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures in folders of three classes: grey, 16-bit, turned by EXIF, of several sizes, some reduced."""
    folder, rng = tmp_path_factory.mktemp("photos") / "photos", np.random.default_rng(0)
    for number in range(60):
        label, kind = divmod(number, 20)
        height, width = 16 + 5 * (kind % 3), 18
        pixels = rng.integers(0, 60, (height, width, 3))
        pixels[:, label * 5 : label * 5 + 6] += 150
        file = folder / "abc"[label] / f"{kind:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        colors = pixels.astype(np.uint8)
        if kind % 5 == 0:
            Image.fromarray(colors[..., 0]).save(file)
        elif kind % 5 == 1:
            Image.fromarray((pixels[..., 0] * 257 + kind).astype(np.uint16)).save(file)
        elif kind % 5 == 2:
            exif = Image.Exif()
            exif[0x0112] = 6
            Image.fromarray(np.rot90(colors)).save(file.with_suffix(".jpg"), quality=95, exif=exif)
        else:
            Image.fromarray(colors).save(file)
    return folder


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen grey pictures with masks of 0 and 255, two sizes, one of them odd."""
    folder, rng = tmp_path_factory.mktemp("cells") / "cells", np.random.default_rng(1)
    for number in range(16):
        shape = (40, 48) if number % 2 else (41, 37)
        pixels, mask = rng.integers(0, 90, shape), np.zeros(shape, np.uint8)
        top, left = rng.integers(2, 20, 2)
        mask[top : top + 14, left : left + 14] = 255
        pixels[mask > 0] += 120
        for kind, picture in (("images", pixels.astype(np.uint8)), ("masks", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / kind / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function: data and words -> the folder of a finished run, in a folder of its own."""

    def train(data: Path, *words: str) -> Path:
        import torch

        from provenet.cli.main import run

        torch.set_num_threads(1)
        out = tmp_path_factory.mktemp("runs") / "run"
        assert run(["train", str(data), *words, "--out", str(out)]) == 0
        return out

    return train


@pytest.fixture(scope="session")
def photo_run(trained: Callable[..., Path], photos: Path) -> Path:
    """A finished run on `photos`."""
    return trained(photos, *PHOTO_WORDS)


@pytest.fixture(scope="session")
def cell_run(trained: Callable[..., Path], cells: Path) -> Path:
    """A finished run on `cells`."""
    return trained(cells, *CELL_WORDS, "precision=fp32")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Return a function: words of a command line -> exit code, output, errors; pictures are decoded in this process."""
    monkeypatch.setattr("provenet.data.build.num_decoders", lambda _: 0)
    monkeypatch.setattr("provenet.data.survey.num_decoders", lambda _: 0)
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*words: object) -> tuple[int, str, str]:
        from provenet.cli.main import run

        capsys.readouterr()
        code = run([os.fspath(word) if isinstance(word, Path) else str(word) for word in words])
        return (code, *capsys.readouterr())

    return invoke
