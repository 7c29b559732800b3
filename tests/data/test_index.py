"""What a data set holds is found from its layout; what is wrong is told all at once."""

from __future__ import annotations

import time
import zipfile

import pytest

from provenet.core.errors import DataError
from provenet.data.index import Item, read_index
from provenet.data.layouts import find_layout
from provenet.data.tables import read_rows
from provenet.data.tree import Tree


@pytest.fixture(params=["folder", "zip"])
def index(request, tmp_path):
    """Return a function: text of files by name -> the index of a folder or zip of them; None is an empty folder."""

    def build(files, top=""):
        files = dict.fromkeys(files, "") if not isinstance(files, dict) else files
        if request.param == "zip":
            with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
                for name, text in files.items():
                    archive.writestr(top + name + ("/" if text is None else ""), text or "")
            return read_index(tmp_path / "d.zip")
        (tmp_path / "d").mkdir(exist_ok=True)
        for name, text in files.items():
            path = tmp_path / "d" / (top + name)
            (path if text is None else path.parent).mkdir(parents=True, exist_ok=True)
            if text is not None:
                path.write_text(text, encoding="utf-8")
        return read_index(str(tmp_path / "d"))

    return build


def told(build, *arguments):
    with pytest.raises(DataError) as caught:
        build(*arguments)
    assert caught.value.exit_code == 8
    return str(caught.value)


def splits(index):
    return {item.file: item.split for item in index.items}


@pytest.mark.parametrize("top", ["", "pets/", "download/pets/"])
def test_class_folders(index, top):
    found = index(
        ["dog/1.png", "Cat/b.JPG", "Cat/a", "dog/more/2.webp", "README.md", "loose.png"][: 6 if not top else 4], top
    )
    assert (found.task, found.layout) == ("classification", "a folder for each of 2 classes")
    expected = [("Cat/a", "Cat"), ("Cat/b.JPG", "Cat"), ("dog/1.png", "dog"), ("dog/more/2.webp", "dog")]
    assert found.items == tuple(Item(top + file, label) for file, label in expected)
    if not top:
        assert found.ignored == {
            "not in a class folder": ("loose.png",),
            ".md is not an image that is read": ("README.md",),
        }


def test_a_file_beside_the_one_folder_does_not_hide_it(index):
    found = index(["README", "LICENSE.txt", "pets/cat/1.png", "pets/dog/1.png"])
    assert [item.label for item in found.items] == ["cat", "dog"]
    assert found.ignored["outside pets/"] == ("README",)


def test_split_folders_of_class_folders(index):
    found = index(["train/a/1.png", "train/b/1.png", "Valid/a/2.png", "test/b/3.png", "extra/4.png", "test/5.png"])
    assert found.layout == "class folders under train/, Valid/, test/"
    assert splits(found) == {
        "train/a/1.png": "train",
        "train/b/1.png": "train",
        "Valid/a/2.png": "val",
        "test/b/3.png": "test",
    }
    assert found.ignored == {"not in a class folder of a split": ("extra/4.png", "test/5.png")}


def test_a_class_may_be_called_train(index):
    assert {item.label for item in index(["train/1.png", "bus/2.png"]).items} == {"train", "bus"}


def test_only_train_folders_leave_the_split_open(index):
    assert set(splits(index(["train/a/1.png", "train/b/1.png", "other/c.png"])).values()) == {None}


def test_only_train_pairs_leave_the_split_open(index):
    assert splits(index(["train/images/1.png", "train/masks/1.png"])) == {"train/images/1.png": None}


def test_pairs(index):
    found = index(
        ["imgs/1.jpg", "imgs/2.png", "imgs/x/3.tif", "Labels/1.png", "Labels/2_mask.png", "Labels/x/3.png"], "cells/"
    )
    assert (found.task, found.layout) == ("segmentation", "imgs/ and Labels/ paired by name")
    masks = {"imgs/1.jpg": "Labels/1.png", "imgs/2.png": "Labels/2_mask.png", "imgs/x/3.tif": "Labels/x/3.png"}
    assert {item.file: item.mask for item in found.items} == {"cells/" + a: "cells/" + b for a, b in masks.items()}


def test_what_pairs_lack_is_told_by_name(index):
    found = index(
        ["images/ok.jpg", "images/none.jpg", "images/two.jpg", "images/twin.jpg", "images/twin.png"]
        + ["masks/ok.png", "masks/two.png", "masks/two_mask.png", "masks/twin.png", "masks/alone.png", "other.png"]
    )
    assert [item.file for item in found.items] == ["images/ok.jpg"]
    reasons = dict(found.missing)
    assert sorted(reasons) == ["images/none.jpg", "images/twin.jpg", "images/twin.png", "images/two.jpg"]
    assert "no mask" in reasons["images/none.jpg"]
    assert "2 masks" in reasons["images/two.jpg"]
    assert "2 images" in reasons["images/twin.png"]
    assert found.ignored["mask without an image"] == ("masks/alone.png",)
    assert found.ignored["outside the folders of images and masks"] == ("other.png",)


def test_an_image_whose_own_name_ends_in_mask_keeps_its_mask(index):
    found = index(["images/a.png", "images/a_mask.png", "masks/a.png", "masks/a_mask.png"])
    assert {item.file: item.mask for item in found.items} == {
        "images/a.png": "masks/a.png",
        "images/a_mask.png": "masks/a_mask.png",
    }


def test_pairs_under_splits(index):
    found = index(
        ["train/images/1.png", "train/masks/1.png", "val/images/2.png", "val/masks/2.png", "test/images/3.png"]
    )
    assert splits(found) == {"train/images/1.png": "train", "val/images/2.png": "val"}
    assert found.ignored["outside the folders of images and masks"] == ("test/images/3.png",)


PAIRS = {f"{folder}/{i}.png": "" for folder in ("images", "masks") for i in "12345"}


def test_split_lists_beside_pairs(index):
    lists = {"splits/train.txt": "1\n2.png\n\n", "splits/valid.txt": "images/3.png\r\n", "splits/test.txt": "4\n9\n"}
    found = index(PAIRS | lists, "set/")
    assert found.layout == "images/ and masks/ paired by name, splits from splits/*.txt"
    assert splits(found) == {
        "set/images/1.png": "train",
        "set/images/2.png": "train",
        "set/images/3.png": "val",
        "set/images/4.png": "test",
    }
    assert found.ignored == {"not named in splits/*.txt": ("set/images/5.png",)}
    assert found.missing == (("9", "named in splits/test.txt:2, but there is no such image"),)


def test_an_image_without_mask_is_told_once_when_a_list_names_it(index):
    found = index(PAIRS | {"images/6.png": "", "splits/train.txt": "1\n6\n"})
    assert [file for file, _ in found.missing] == ["images/6.png"]


def test_a_split_table_beside_class_folders(index):
    table = "\ufeffFile;Split;Group\ncat/1.png;TRAIN;p1\n2.png;validation;p2\ndog/3;train;p3\n"
    found = index({"cat/1.png": "", "cat/2.png": "", "dog/3.png": "", "dog/4.png": "", "split.csv": table})
    assert found.items == (
        Item("cat/1.png", "cat", None, "train", "p1"),
        Item("cat/2.png", "cat", None, "val", "p2"),
        Item("dog/3.png", "dog", None, "train", "p3"),
    )
    assert found.ignored == {"not named in split.csv": ("dog/4.png",)}


def test_all_faults_of_split_lists_are_told_at_once(index):
    table = "file,split\ncat/1.png,tran\n2.png,test\n1.png,val\ncat/1.png,train\n../x.png,val\n,val\n"
    text = told(index, {"cat/1.png": "", "cat/2.png": "", "dog/1.png": "", "split.csv": table})
    assert "split.csv:2: unknown split; got tran" in text
    assert "did you mean 'train'" in text
    assert "split.csv:4: one name for several images; got 1.png" in text
    assert "split.csv:5: a file that is named twice; got cat/1.png" in text
    assert "split.csv:6: a file name that leads out" in text
    assert "split.csv:7: no file name" in text


def test_a_name_in_two_lists_is_a_fault(index):
    text = told(index, PAIRS | {"splits/train.txt": "1\n2\n", "splits/test.txt": "images/2.png\n"})
    assert "an image that is named twice" in text
    assert "splits/t" in text


def test_a_list_of_no_split_is_a_fault(index):
    text = told(index, PAIRS | {"splits/train.txt": "1\n", "splits/tests.txt": "2\n"})
    assert "splits/tests.txt: unknown split; got tests" in text
    assert "did you mean 'test'" in text


@pytest.fixture
def table(tmp_path):
    """Return a function: (text of a CSV, names of files beside it) -> its index."""

    def build(text, names=(), encoding="utf-8"):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        (tmp_path / "all.csv").write_bytes(text.encode(encoding))
        return read_index(tmp_path / "all.csv")

    return build


def test_a_table_of_labels(table):
    text = 'Path,Class,notes,subset\nx/1.png,cat,"a, b",train\n./x/2.png,dog,,train\nx\\3.png,cat,,Test\n'
    text += "x/4.png,dog,,test\n"
    found = table(text, ["x/1.png", "x/2.png", "x/3.png", "y/not-named.png"])
    assert (found.task, found.layout) == ("classification", "table all.csv with file, label, split")
    assert [(item.file, item.label, item.split) for item in found.items] == [
        ("x/1.png", "cat", "train"),
        ("x/2.png", "dog", "train"),
        ("x/3.png", "cat", "test"),
    ]
    assert found.missing == (("x/4.png", "named in all.csv:5, but there is no such file"),)
    assert found.source.read("x/1.png") == b""


def test_a_table_of_masks(table):
    found = table("image,mask,group\n1.png,m/1.png,g\n2.png,m/2.png,g\n", ["1.png", "2.png", "m/1.png"], "utf-8-sig")
    assert found.task == "segmentation"
    assert found.items == (Item("1.png", None, "m/1.png", None, "g"),)
    assert found.missing == (("2.png", "its mask m/2.png, named in all.csv:3, is not there"),)


def test_a_table_inside_a_folder_or_zip(index):
    files = {"labels.csv": "file,label\nimages/1.png,a\nimages/2.png,b\n", "images/1.png": "", "images/2.png": ""}
    found = index(files | {"images/3.png": ""}, "set/")
    assert [(item.file, item.label) for item in found.items] == [("set/images/1.png", "a"), ("set/images/2.png", "b")]
    assert found.ignored == {"not named in labels.csv": ("set/images/3.png",)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no column names the files"]),
        ("name,label\n", ["no column names the files", "file/path/filename/image"]),
        ("file,colour\n1.png,red\n", ["no column of labels or masks"]),
        ("file,label,mask\n1.png,a,2.png\n", ["columns for both"]),
        ("file,label\n1.png,\n2.png,b\n", ["all.csv:2: no label"]),
        ("file,label\n1.png,a\n2.png,a\n", ["one class only; got a"]),
        ("file,label,split\n1.png,a,train\n2.png,b,\n", ["all.csv:3: no split"]),
        ("file,label,split\n1.png,a,val\n2.png,b,val\n", ["no image for training"]),
        ("file,label,split\n1.png,a,x\n/2.png,b,train\n", ["all.csv:2: unknown split", "all.csv:3", "absolute"]),
        ("file,label\nnope/1.png,a\nnope/2.png,b\n", ["none of the files is there", "nope/1.png"]),
        ("file,label\n" + '"' + "x" * 200_000 + "\n", ["not a table"]),
    ],
)
def test_a_table_that_cannot_be_used(table, text, words):
    message = told(table, text, ["1.png", "2.png"])
    assert all(word in message for word in words), message


def test_a_table_that_is_no_utf_8(table):
    assert "all.csv: not UTF-8 text" in told(table, "file,label\nü.png,a\n", [], "latin-1")


def test_a_thousand_faults_do_not_fill_the_screen(table):
    text = "file,label,split\n" + "".join(f"{i}.png,a,nope\n" for i in range(1000))
    message = told(table, text)
    assert len(message.splitlines()) == 21
    assert "980 more" in message


def test_rows_of_a_table_with_a_quoted_line_break():
    rows, faults = read_rows('file,label\n"a\nb.png",x\n', "t.csv")
    assert (rows[0].file, faults) == ("a\nb.png", [])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, ["there is no image", "no files"]),
        ({"a/1.txt": "", "b/1.xml": ""}, ["there is no image", "2 files of .txt, .xml"]),
        ({"1.png": "", "2.png": ""}, ["no layout", "2 images loose", "a folder for each class"]),
        ({"cat/1.png": "", "cat/2.png": ""}, ["no layout", "loose in cat/", "at least two classes"]),
        ({"val/a/1.png": "", "test/b/1.png": ""}, ["no layout"]),
        ({"train/a/1.png": "", "val/b/2.png": ""}, ["one class only", "a class of val is unknown in train; got b"]),
        (
            {"train/cat/1.png": "", "train/bird/2.png": "", "val/birds/2.png": ""},
            ["unknown in train; got birds", "did you mean 'bird'"],
        ),
        ({"a/1.png": "", "b/2.png": "", "c": None}, ["a class folder holds no image that is read; got c/"]),
        ({"a/1.png": "", "b/2.png": "", "c/3.heic": ""}, ["holds no image that is read; got c/"]),
        (
            {"train/a/1.png": "", "train/b/2.png": "", "train/c": None, "val/a/1.png": ""},
            ["holds no image that is read; got train/c/"],
        ),
        ({"images/1.png": "", "masks/2.png": ""}, ["no image has a mask", "images/1.png"]),
        ({"images/1.png": "", "masks/1.png": "", "splits/val.txt": "1"}, ["no image for training"]),
    ],
)
def test_data_that_cannot_be_used(index, files, words):
    message = told(index, files)
    assert all(word.lower() in message.lower() for word in words), message


def test_an_empty_folder_under_val_is_no_fault(index):
    assert len(index({"train/a/1.png": "", "train/b/1.png": "", "val/a/2.png": "", "val/b": None}).items) == 3


class Listed:
    """A source of many names."""

    name = "many"

    def __init__(self, names):
        self._names = sorted(names)

    def names(self):
        return self._names

    def folders(self):
        return []


def test_100_000_files_are_indexed_in_seconds():
    sets = {
        "classes": [f"top/{split}/{i % 100}/{i}.jpg" for i in range(50_000) for split in ("train", "test")],
        "pairs": [f"top/{folder}/{i}.png" for i in range(50_000) for folder in ("images", "masks")],
    }
    for names in sets.values():
        start = time.perf_counter()
        found = find_layout(Tree.of_source(Listed(names)))
        assert time.perf_counter() - start < 5
        assert len(found.items) in (50_000, 100_000)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "task", "counts"),
    [
        ("cifar10", "classification", {"train": 50_000, "test": 10_000}),
        ("clothing", "classification", {"train": 1103, "val": 341, "test": 372}),
        ("nuclei", "segmentation", {"train": 531, "val": 66, "test": 67}),
        ("membranes", "segmentation", {"train": 20, "val": 5, "test": 5}),
    ],
)
def test_the_development_sets_are_found_as_their_makers_say(shared_data, name, task, counts):
    found = read_index(shared_data / f"{name}.zip")
    assert (found.task, found.missing) == (task, ())
    given = [item.split for item in found.items]
    assert {split: given.count(split) for split in set(given)} == counts
