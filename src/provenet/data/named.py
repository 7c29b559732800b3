"""Data sets known by name, shown as folders of PNG files: `digits`, and what torchvision can download."""

from __future__ import annotations

import os
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from provenet.core.errors import DataError, Fault, near
from provenet.data.filenames import folders_of


class _NamedSource:
    """Pictures that lie in memory or in a library's own files, under made-up names."""

    name: str

    @cached_property
    def _places(self) -> dict[str, Any]:
        """Return name -> where the picture is."""
        raise NotImplementedError

    def _image(self, place: Any) -> Image.Image:
        """Return the picture at a place."""
        raise NotImplementedError

    def names(self) -> list[str]:
        return sorted(self._places)

    def folders(self) -> list[str]:
        return folders_of(self._places)

    def skipped(self) -> dict[str, tuple[str, ...]]:
        return {}

    def read(self, name: str) -> bytes:
        file = BytesIO()
        self._image(self._places[name]).save(file, "PNG")
        return file.getvalue()

    def stamp(self, name: str) -> str:
        return f"{self.name}-{self._places[name]}"

    def close(self) -> None:
        pass


class DigitsSource(_NamedSource):
    """The 1,797 handwritten digits that come with scikit-learn, 8 x 8 pixels of 17 levels, as `digits/CLASS/NNNN.png`.

    Source: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI repository.
    """

    name = "digits"

    @cached_property
    def _places(self) -> dict[str, int]:
        return {f"digits/{label}/{i:04d}.png": i for i, label in enumerate(_digits()[1])}

    def _image(self, place: int) -> Image.Image:
        return Image.fromarray(np.rint(_digits()[0][place] * (255 / 16)).astype(np.uint8))


@cache
def _digits() -> tuple[Any, Any]:
    """Return the digits' values 0..16, N H W, and their labels, N."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images, digits.target


_TRAIN: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
_SPLIT: dict[str, dict[str, Any]] = {"train": {"split": "train"}, "test": {"split": "test"}}
_THREE: dict[str, dict[str, Any]] = {**_SPLIT, "val": {"split": "val"}}

# name in torchvision.datasets -> split -> what its constructor wants for it
SETS: dict[str, dict[str, dict[str, Any]]] = {
    "MNIST": _TRAIN,
    "FashionMNIST": _TRAIN,
    "KMNIST": _TRAIN,
    "USPS": _TRAIN,
    "CIFAR10": _TRAIN,
    "CIFAR100": _TRAIN,
    "SVHN": _SPLIT,
    "STL10": _SPLIT,
    "Food101": _SPLIT,
    "GTSRB": _SPLIT,
    "Flowers102": _THREE,
    "DTD": _THREE,
    "FGVCAircraft": _THREE,
    "RenderedSST2": _THREE,
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "Imagenette": {"train": {"split": "train"}, "val": {"split": "val"}},
    "EuroSAT": {"": {}},
}


class TorchvisionSource(_NamedSource):
    """A classification set of torchvision, downloaded once, as `SPLIT/CLASS/NNNNNN.png`.

    Args:
        name: `torchvision:NAME`, NAME as in torchvision.datasets.

    Raises:
        DataError: NAME is unknown.
    """

    def __init__(self, name: str) -> None:
        self.name, self._set = name, name.removeprefix("torchvision:")
        if self._set not in SETS:
            fault = Fault("no such torchvision data set", self._set, ", ".join(SETS), _nearest(self._set))
            raise DataError(fault)

    def __reduce__(self) -> tuple[type[TorchvisionSource], tuple[str]]:
        return TorchvisionSource, (self.name,)

    @cached_property
    def _splits(self) -> dict[str, Any]:
        """Return split -> data set, downloading what is not there yet."""
        import torchvision.datasets

        root = _cache_folder() / self._set
        try:
            root.mkdir(parents=True, exist_ok=True)
            build = getattr(torchvision.datasets, self._set)
            return {split: build(str(root), download=True, **wanted) for split, wanted in SETS[self._set].items()}
        except (
            OSError,
            RuntimeError,
        ) as error:  # no network, a moved file, a checksum that does not agree, a full disk
            remedy = f"check the network, or put torchvision's files into {root} from another machine"
            raise DataError(Fault(f"{self.name} could not be downloaded", str(error), "", remedy)) from error

    @cached_property
    def _places(self) -> dict[str, tuple[str, int]]:
        places = {}
        for split, images in self._splits.items():
            classes = getattr(images, "classes", None)
            for i, target in enumerate(_targets(images)):
                label = str(classes[target] if classes else target).replace("/", "-")
                places["/".join(filter(None, (split, label, f"{i:06d}.png")))] = (split, i)
        return places

    def _image(self, place: tuple[str, int]) -> Image.Image:
        split, i = place
        return self._splits[split][i][0]


def _targets(images: Any) -> list[int]:
    """Return the class of each picture, without decoding the pictures where the set keeps a list."""
    for attribute in ("targets", "_labels", "labels"):
        if hasattr(images, attribute):
            return [int(target) for target in getattr(images, attribute)]
    return [int(images[i][1]) for i in range(len(images))]


def _nearest(name: str) -> str:
    """Return a remedy that names what was probably meant, whatever its case."""
    by_lower = {known.lower(): known for known in SETS}
    return f"write torchvision:{by_lower[name.lower()]}" if name.lower() in by_lower else near(name, list(SETS))


def _cache_folder() -> Path:
    """Return where downloads are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "provenet" / "torchvision"
