"""Weights of one net into another: by name, with a report of what fitted and what did not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from provenet.core.errors import Fault, RecipeError, StorageError, listed

FILE = "weights.safetensors"


@dataclass
class LoadReport:
    """What came of loading weights.

    Attributes:
        loaded: names (of the net) that were filled.
        missing: names of the net that the file does not have; they keep their values.
        unexpected: names of the file that the net does not have.
        mismatched: (name in the net, shape in the file, shape in the net); they keep their values.
        note: what was adapted, in sentences; empty when nothing was.
    """

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    note: str = ""

    def __str__(self) -> str:
        text = f"{len(self.loaded)} tensors loaded"
        if self.mismatched:
            text += f"; left fresh, of another shape: {listed((name for name, _, _ in self.mismatched), 4)}"
        if self.missing:
            text += f"; left fresh, not in the file: {listed(self.missing, 4)}"
        if self.unexpected:
            text += f"; not used: {listed(self.unexpected, 4)}"
        return f"{text}. {self.note}".strip() if self.note else f"{text}."


def load_weights(net: nn.Module, path: str | Path) -> LoadReport:
    """Fill a net in place from a safetensors file or from a run folder.

    Names may differ by a common prefix (a classifier's body and a segmenter's encoder). A tensor of another shape,
    such as the head of another number of classes, is left as it is, except filters over images: a net for one channel
    takes the sum of a file's three, one for three takes a third of the one each, so that a grey picture gives the same
    answers in both.

    Args:
        net: any module.
        path: a .safetensors file, or a run folder (its best weights, else those of its newest checkpoint).

    Returns:
        What was loaded and what was not.

    Raises:
        RecipeError: there are no such weights, or none of them fits.
        StorageError: the file is damaged.
    """
    file = find_weights(Path(path))
    return fill_(net, _read(file), str(file))


def find_weights(path: Path) -> Path:
    """Return the weights file that a path stands for; see `load_weights`."""
    if path.is_dir():
        steps = sorted(path.glob(f"checkpoints/*/{FILE}"), reverse=True)
        best = [folder / FILE for folder in (path, path / "best", path / "checkpoints" / "best")]
        for file in [*best, *steps]:
            if file.is_file():
                return file
        raise RecipeError(Fault(f"there are no weights in {path}", "", "a run folder with best/ or checkpoints/"))
    if not path.exists():
        raise RecipeError(Fault("there is no such file or folder of weights", str(path)))
    if path.suffix != ".safetensors":
        remedy = "save the state_dict with safetensors.torch.save_file; pickled files are not read, they can run code"
        raise RecipeError(Fault("weights are read from .safetensors files only", str(path), remedy=remedy))
    return path


def _read(file: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file."""
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        remedy = "copy the file again, or take another checkpoint"
        raise StorageError(Fault(f"the weights in {file} cannot be read", str(error), remedy=remedy)) from error


def fill_(net: nn.Module, tensors: Mapping[str, Tensor], origin: str = "the file") -> LoadReport:
    """Fill a net in place from named tensors; see `load_weights`."""
    own = net.state_dict()
    strip, add = _prefixes(tensors, own)
    source = {_key(add + name[len(strip) :]): name for name in tensors if name.startswith(strip)}
    used = {source[_key(name)] for name in own if _key(name) in source}
    report = LoadReport(unexpected=[name for name in tensors if name not in used])
    notes = _renamed(strip, add)
    with torch.no_grad():
        for name, values in own.items():
            if _key(name) not in source:
                report.missing.append(name)
                continue
            found = tensors[source[_key(name)]]
            adapted, note = _adapted(name, found, values.shape)
            if adapted is None:
                report.mismatched.append((name, tuple(found.shape), tuple(values.shape)))
                continue
            values.copy_(adapted)
            report.loaded.append(name)
            notes += [note] if note else []
    report.note = " ".join(notes)
    if not any(own[name].ndim > 0 for name in report.loaded):
        raise RecipeError(_nothing_fits(origin, tensors, own))
    return report


def _nothing_fits(origin: str, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Fault:
    """Return what to tell when no tensor fits: names and shapes of both sides."""

    def shown(some: Mapping[str, Tensor]) -> str:
        return listed((f"{name} {tuple(tensor.shape)}" for name, tensor in some.items()), 3)

    return Fault(
        f"no tensor of {origin} fits this net",
        shown(tensors),
        shown(own),
        "give the net (net.name, its depth and width) that the weights were trained with",
    )


def _adapted(name: str, tensor: Tensor, shape: torch.Size) -> tuple[Tensor | None, str]:
    """Return a tensor of the wanted shape and what was done to it, or None where that is impossible."""
    if tensor.shape == shape:
        return tensor, ""
    if tensor.ndim != 4 or len(shape) != 4 or tensor.shape[::2] + tensor.shape[3:] != shape[::2] + shape[3:]:
        return None, ""
    channels = (tensor.shape[1], shape[1])
    if channels == (3, 1):
        return tensor.sum(1, keepdim=True), f"The filters of {name} over 3 channels were summed to 1."
    if channels == (1, 3):
        return tensor.expand(shape) / 3, f"The filters of {name} over 1 channel were repeated for 3, a third each."
    return None, ""


def _prefixes(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[str, str]:
    """Return the prefix to take off the file's names and the one to put on, so that most tensors fit; the shortest."""
    shapes = {_key(name): tensor.shape for name, tensor in own.items()}

    def score(pair: tuple[str, str]) -> tuple[int, int]:
        strip, add = pair
        fits = sum(
            1
            for name, tensor in tensors.items()
            if name.startswith(strip) and shapes.get(_key(add + name[len(strip) :])) == tensor.shape
        )
        return fits, -len(strip) - len(add)

    return max(product(_heads(tensors), _heads(own)), key=score)


def _key(name: str) -> str:
    """Return a name as it is compared: timm writes stages.0 in a classifier and stages_0 in the encoder made of it."""
    return name.replace(".", "_")


def _renamed(strip: str, add: str) -> list[str]:
    """Say in at most one sentence how the file's names were changed."""
    if strip and add:
        return [f"The prefix '{strip}' of the file's names was read as '{add}'."]
    if strip:
        return [f"The prefix '{strip}' of the file's names was left away."]
    return [f"The prefix '{add}' was put before the file's names."] if add else []


def _heads(names: Iterable[str]) -> list[str]:
    """Return the empty prefix and the dotted prefixes of one and two parts."""
    heads = {""}
    for name in names:
        parts = name.split(".")
        heads |= {".".join(parts[:count]) + "." for count in (1, 2) if len(parts) > count}
    return sorted(heads)
