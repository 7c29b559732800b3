"""Folders, zips and named data sets look alike."""

from __future__ import annotations

import io
import os
import pickle
import socket
import stat
import zipfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from provenet.core.errors import DataError
from provenet.data.filenames import clean_name, unsafe
from provenet.data.named import SETS
from provenet.data.source import open_source

FILES = {"b/2.png": b"two", "a/1.png": b"one", "a/10.png": b"ten", "B.txt": b"", "å/ü 中.png": b"x"}
SIDE = {".hidden": b"", "a/._1.png": b"", "__MACOSX/a/1.png": b"", "a/.DS_Store": b"", "b/Thumbs.db": b""}


def write_folder(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(params=["folder", "zip"])
def source(request, tmp_path):
    files = FILES | SIDE
    path = write_folder(tmp_path / "d", files) if request.param == "folder" else write_zip(tmp_path / "d.zip", files)
    opened = open_source(str(path))
    yield opened
    opened.close()


def test_names_are_sorted_by_code_point_without_side_files(source):
    assert source.names() == sorted(FILES)
    assert source.folders() == ["a", "b", "å"]
    assert len(source.skipped()["hidden or side file"]) >= 4


def test_files_are_read_and_stamped(source):
    assert {name: source.read(name) for name in source.names()} == FILES
    assert len({source.stamp(name) for name in ("a/1.png", "B.txt")}) == 2
    for use in (source.read, source.stamp):
        with pytest.raises(OSError):
            use("a/absent.png")


def test_a_source_reads_after_close_in_a_copy_and_in_a_forked_child(source):
    source.read("a/1.png")
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301 - what a spawned child gets from its parent
    assert copy.read("a/1.png") == b"one"
    copy.close()
    child = os.fork()
    if child == 0:
        os._exit(0 if all(source.read(name) == content for name, content in FILES.items()) else 1)
    assert [source.read(name) for name in FILES] == list(FILES.values())
    assert os.waitpid(child, 0)[1] == 0
    source.close()
    assert source.read("b/2.png") == b"two"


def test_the_stamp_changes_with_the_file(tmp_path):
    folder = write_folder(tmp_path / "d", {"1.png": b"one"})
    before = open_source(folder).stamp("1.png")
    os.utime(folder / "1.png", ns=(1, 1))
    assert open_source(folder).stamp("1.png") != before
    stamps = [open_source(write_zip(tmp_path / "d.zip", {"1.png": content})).stamp("1.png") for content in (b"a", b"b")]
    assert stamps[0] != stamps[1]


def test_links_are_followed_and_loops_end(tmp_path):
    write_folder(tmp_path / "elsewhere", {"1.png": b"one"})
    folder = write_folder(tmp_path / "d", {"a/2.png": b"two"})
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "a" / "up").symlink_to(folder)
    (folder / "file.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    (folder / "gone.png").symlink_to(tmp_path / "nowhere")
    source = open_source(folder)
    assert source.names() == ["a/2.png", "file.png", "linked/1.png"]
    assert source.read("linked/1.png") == b"one"
    assert source.skipped()["link to nothing"] == ("gone.png",)
    assert source.skipped()["link that leads back to a folder above it"] == ("a/up",)


def test_pipes_and_sockets_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "socket.png"))
    source = open_source(tmp_path)
    assert source.names() == []
    assert source.skipped()["not a regular file"] == ("pipe.png", "socket.png")
    with pytest.raises(OSError, match="regular"):
        source.read("pipe.png")
    listening.close()


def test_a_name_that_is_not_text_is_left_out(tmp_path):
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))).write_bytes(b"")
    assert list(open_source(tmp_path).skipped()) == ["name is not UTF-8"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_closed_folder_is_left_out(tmp_path):
    folder = write_folder(tmp_path, {"closed/1.png": b"", "2.png": b""}) / "closed"
    folder.chmod(0)
    assert open_source(tmp_path).skipped()["folder that may not be opened"] == ("closed",)
    folder.chmod(0o700)


@pytest.mark.parametrize(
    "name", ["../out.png", "/etc/passwd", "a/../../out.png", "C:\\x.png", "..\\out.png", "\\x.png"]
)
def test_names_that_lead_out_of_a_zip_are_refused(tmp_path, name):
    path = write_zip(tmp_path / "evil.zip", {"a/1.png": b"", name: b""})
    with pytest.raises(DataError, match="lead out of the archive") as caught:
        open_source(path)
    assert name in str(caught.value)
    assert sorted(tmp_path.iterdir()) == [path]


def test_all_faults_of_a_zip_are_told_at_once(tmp_path):
    path = tmp_path / "evil.zip"
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../x.png", b"")
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a.png", b"1")
        archive.writestr("./a.png", b"2")
        archive.writestr("bomb.bmp", bytes(70 << 20), zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError) as caught:
        open_source(path)
    told = str(caught.value)
    assert all(word in told for word in ("lead out", "links", "one name; got a.png", "absurd")), told
    assert caught.value.exit_code == 8


def test_a_damaged_member_is_an_error_of_that_file_only(tmp_path):
    path = write_zip(tmp_path / "d.zip", {"a.png": b"first" * 100, "b.png": b"second" * 100})
    data = bytearray(path.read_bytes())
    data[data.index(b"a.png") + 10] ^= 255
    path.write_bytes(data)
    source = open_source(path)
    with pytest.raises(OSError, match="damaged"):
        source.read("a.png")
    assert source.read("b.png") == b"second" * 100


def test_a_zip_that_is_none_is_refused(tmp_path):
    (tmp_path / "d.zip").write_bytes(b"not a zip")
    with pytest.raises(DataError, match="cannot be opened as a zip"):
        open_source(tmp_path / "d.zip")


@given(st.text(min_size=1, max_size=30))
def test_a_clean_safe_name_stays_inside(name):
    if not unsafe(name):
        parts = clean_name(name).split("/")
        assert ".." not in parts
        assert not clean_name(name).startswith("/")
        assert clean_name(clean_name(name)) == clean_name(name)


def test_what_is_not_there_is_told_with_a_near_name(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="did you mean 'photos'"):
        open_source(str(tmp_path / "photo"))
    with pytest.raises(DataError, match=r"torchvision:CIFAR10") as caught:
        open_source("torchvision:cifar10")
    assert caught.value.exit_code == 8
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(DataError, match="no kind that is read"):
        open_source(tmp_path / "x.png")


def test_digits_are_scikit_learns(tmp_path, monkeypatch):
    from sklearn.datasets import load_digits

    monkeypatch.chdir(tmp_path)
    source, digits = open_source("digits"), load_digits()
    names = source.names()
    assert len(names) == 1797
    for i in (0, 5, 1796):
        name = f"digits/{digits.target[i]}/{i:04d}.png"
        pixels = np.asarray(Image.open(io.BytesIO(source.read(name))))
        assert np.array_equal(pixels, np.floor(digits.images[i] * 255 / 16 + 0.5))
    assert source.folders() == ["digits", *(f"digits/{label}" for label in range(10))]
    assert source.read(names[7]) == source.read(names[7])
    (tmp_path / "digits").mkdir()
    with pytest.raises(DataError, match=r"\./digits"):
        open_source("digits")
    assert open_source("./digits").names() == []


class FakeSet:
    """Stands for a set of torchvision: pairs of image and class."""

    classes = ("cat", "T-shirt/top")
    downloads: ClassVar[list[tuple[str, bool]]] = []

    def __init__(self, root, train=True, download=False):
        FakeSet.downloads.append((root, download))
        self.targets = [1, 0] if train else [0]

    def __getitem__(self, i):
        return Image.new("L", (2, 2), 10 * i), self.targets[i]


def test_torchvision_sets_become_class_folders(monkeypatch, tmp_path):
    import torchvision.datasets

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", FakeSet)
    source = pickle.loads(pickle.dumps(open_source("torchvision:FashionMNIST")))  # noqa: S301
    assert source.names() == ["test/cat/000000.png", "train/T-shirt-top/000000.png", "train/cat/000001.png"]
    pixels = np.asarray(Image.open(io.BytesIO(source.read("train/cat/000001.png"))))
    assert (pixels == 10).all()
    assert FakeSet.downloads == [(str(tmp_path / "provenet/torchvision/FashionMNIST"), True)] * 2


def test_a_download_that_fails_says_what_to_do(monkeypatch, tmp_path):
    import torchvision.datasets

    def fail(*_, **__):
        raise RuntimeError("Error downloading train-images")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torchvision.datasets, "MNIST", fail)
    with pytest.raises(DataError, match="check the network"):
        open_source("torchvision:MNIST").names()


@pytest.mark.parametrize("name", SETS)
def test_the_table_of_torchvision_sets_fits_their_constructors(name):
    import inspect

    import torchvision.datasets

    wanted = set(inspect.signature(getattr(torchvision.datasets, name)).parameters)
    assert all({*options, "root", "download"} <= wanted for options in SETS[name].values())
