"""Where a result comes from: versions, machine, data, and the fields that byte-equal repetition depends on."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import torch

from provenet import __version__
from provenet.core.files import canonical, sha256

PACKAGES = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "pillow", "scikit-learn", "safetensors")
TRAINING = ("core", "data", "techniques", "metrics", "nets", "engine", "recipe", "run")
"""The floors that decide what a training gives."""


def fingerprint(device: str, precision: str) -> dict[str, Any]:
    """Return the fields that must agree for two runs to agree byte for byte."""
    place = torch.device(device)
    hardware = torch.cuda.get_device_name(place) if place.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return {
        "provenet": __version__,
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "hardware": hardware,
        "device": device,
        "precision": precision,
        "threads": torch.get_num_threads(),
    }


def code_hash() -> str:
    """Return one hash of the source that a training runs through: equal recipes and data then give equal results."""
    package = Path(__file__).parents[1]
    files = sorted(path for floor in TRAINING for path in (package / floor).rglob("*.py"))
    return sha256(canonical([[str(path.relative_to(package)), sha256(path.read_bytes())] for path in files]))


def provenance(recipe_text: str, device: str, precision: str, data: dict[str, Any]) -> dict[str, Any]:
    """Return the content of `provenance.json`."""
    return {
        "fingerprint": fingerprint(device, precision),
        "versions": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": _memory_gib(),
        },
        "command": shlex.join(["provenet", *sys.argv[1:]])
        if Path(sys.argv[0]).stem in ("provenet", "__main__")
        else "",
        "git": _git_state(),
        "recipe_sha256": sha256(recipe_text),
        "data": data.get("source", ""),
        "data_fingerprint": data["fingerprint"],
    }


def differences(stored: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return a sentence for each field of two fingerprints that differs.

    Example:
        >>> differences({"threads": 2}, {"threads": 1})
        ['threads was 2 and is 1']
    """
    return [f"{key} was {stored.get(key)} and is {now[key]}" for key in now if stored.get(key) != now[key]]


def _version(name: str) -> str | None:
    """Return the version of a package, None where it is not there under this name (as another build of OpenCV)."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf"):
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _git_state() -> dict[str, Any] | None:
    """Return commit and cleanliness of the checkout that provenet runs from; None when it is no checkout."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return {"commit": commit, "clean": _git(here, "status", "--porcelain", "--untracked-files=no") == ""}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=5)
    return done.stdout.strip()
