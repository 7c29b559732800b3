"""Run folders as `train` leaves them, made up: enough like real ones to look at, small enough to write often."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from provenet.core.files import Log, write_json, write_text

CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RunMaker = Callable[..., Path]


def figure(value: float, half: float = 0.005) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def write_log(path: Path, rows: list[dict[str, Any]]) -> None:
    log = Log(path)
    for row in rows:
        log.append(row)
    log.close()


def confusion_of(num: int, each: int, rng: np.random.Generator) -> list[list[int]]:
    """A matrix with about 90 % on its diagonal; neighbours are confused most."""
    distance = np.abs(np.subtract.outer(np.arange(num), np.arange(num)))
    weight = np.where(distance == 0, 20.0, 1.5 / distance.clip(1) ** 2) * rng.uniform(0.5, 1.5, (num, num))
    return [rng.multinomial(each, row / row.sum()).tolist() for row in weight]


def classification_split(classes: tuple[str, ...], each: int, rng: np.random.Generator, lift: float) -> dict[str, Any]:
    confusion = np.array(confusion_of(len(classes), each, rng))
    accuracy = float(np.trace(confusion) / confusion.sum()) + lift
    recall = np.diag(confusion) / confusion.sum(1)
    precision = np.diag(confusion) / confusion.sum(0).clip(1)
    per_class = [
        {"name": name, "support": each, "precision": figure(precision[i], 0.02), "recall": figure(recall[i], 0.02)}
        | {"f1": float(2 * precision[i] * recall[i] / max(precision[i] + recall[i], 1e-9))}
        for i, name in enumerate(classes)
    ]
    bins = [
        {"bin": i, "confidence": (i + 0.5) / 15, "accuracy": min(1.0, (i + 0.5) / 15 * 0.93 + 0.02), "n": 2 + i**3}
        for i in range(15)
    ]
    metrics = {"accuracy": accuracy, "balanced_accuracy": accuracy - 0.002, "log_loss": 0.31, "ece": 0.0147}
    return {
        "n": each * len(classes),
        "listed": each * len(classes),
        "metrics": {name: figure(value) for name, value in metrics.items()},
        "per_class": per_class,
        "confusion": confusion.tolist(),
        "extra": {"reliability": bins},
    }


def segmentation_split(classes: tuple[str, ...], n: int, lift: float) -> dict[str, Any]:
    per_class: list[dict[str, Any]] = [
        {"name": name, "support": 40_000 + 9_000 * i, "iou": figure(0.93 - 0.07 * i + lift, 0.012)}
        | {"dice": figure(0.965 - 0.04 * i + lift, 0.008), "boundary_f1": figure(0.88 - 0.03 * i, 0.02)}
        for i, name in enumerate(classes)
    ]
    per_class[-1] |= {"boundary_f1": None}
    metrics = {"dice": 0.912 + lift, "miou": 0.893 + lift, "pixel_accuracy": 0.967, "boundary_f1": 0.861}
    metrics["mean_image_dice"] = 0.897
    return {
        "n": n - 1,
        "listed": n,
        "metrics": {name: figure(value, 0.011) for name, value in metrics.items()},
        "per_class": per_class,
        "confusion": [[90_000, 2_000], [1_500, 40_000]],
        "extra": {},
    }


def save_picture(path: Path, pixels: np.ndarray) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path.name


def blobs(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A dark picture with bright discs, and the mask of the discs."""
    y, x = np.mgrid[:size, :size]
    mask = np.zeros((size, size), bool)
    for cx, cy, radius in rng.uniform((0, 0, size / 20), (size, size, size / 8), (9, 3)):
        mask |= (x - cx) ** 2 + (y - cy) ** 2 < radius**2
    grey = np.clip(30 + 120 * mask + rng.normal(0, 6, mask.shape), 0, 255).astype(np.uint8)
    return np.stack([grey // 2, grey, grey], 2), mask


def write_views(folder: Path, task: str, classes: tuple[str, ...], num: int, rng: np.random.Generator) -> None:
    views: dict[str, Any] = {"augmented": [], "wrong": [], "overlays": []}
    for i in range(num):
        picture, mask = blobs(32 if task == "classification" else 128, rng)
        name = save_picture(folder / f"augmented-{i}.png", picture)
        views["augmented"].append({"file": name, "caption": classes[i % len(classes)]})
        if task == "classification":
            name = save_picture(folder / f"wrong-{i}.png", picture[::-1])
            truth, said = classes[i % len(classes)], classes[(i + 3) % len(classes)]
            caption = f"test/{truth}/{i:05d}.png"
            entry = {"file": name, "caption": caption, "truth": truth, "predicted": said, "probability": 0.99 - i / 99}
            views["wrong"].append(entry)
        elif i < 6:
            shown = {"image": picture, "truth": np.uint8(255) * mask, "prediction": np.uint8(255) * np.roll(mask, 3, 1)}
            entry = {part: save_picture(folder / f"{part}-{i}.png", pixels) for part, pixels in shown.items()}
            views["overlays"].append(entry | {"caption": f"test/images/{i:03d}.png", "score": 0.71 + i / 40})
    if task == "segmentation":
        views["palette"] = [[0, 0, 0], [230, 159, 0], [86, 180, 233], [0, 158, 115]][: len(classes)]
    write_json(folder / "views.json", views)


def write_curves(folder: Path, metric: str, num_epochs: int, per_epoch: int, num_wanted: int) -> None:
    rng = np.random.default_rng(1)
    total = num_wanted * per_epoch
    steps, epochs = [], []
    for step in range(num_epochs * per_epoch):
        factor = min((step + 1) / (0.1 * total), 1.0) * 0.5 * (1 + math.cos(math.pi * step / total))
        loss = 0.3 + 2 * math.exp(-step / total * 5) + rng.normal(0, 0.05)
        row = {"step": step + 1, "loss": loss, "lr": 0.4 * factor}
        steps.append(row | {"grad_norm": abs(1.2 + rng.normal(0, 0.2)) + 3 * math.exp(-step / 40)})
    for epoch in range(num_epochs):
        done = (epoch + 1) / num_wanted
        score = 0.93 - 0.6 * math.exp(-5 * done) + rng.normal(0, 0.004)
        row = {"epoch": epoch + 1.0, "step": (epoch + 1) * per_epoch, "lr": steps[(epoch + 1) * per_epoch - 1]["lr"]}
        row |= {"train_loss": 0.3 + 2 * math.exp(-5 * done), "val_loss": 0.42 + 1.7 * math.exp(-5 * done)}
        row |= {"val": {metric: score, "ece": 0.03}, "train_clean": {metric: score + 0.04 * done}}
        epochs.append(row | {"seconds": 31.2 * (epoch + 1), "images_per_s": 1442.0, "averaged": True})
    write_log(folder / "epochs.jsonl", epochs)
    write_log(folder / "steps.jsonl", steps)


def write_origin(folder: Path, task: str, classes: tuple[str, ...]) -> None:
    recipe = {"task": task, "epochs": 30, "net": {"name": "convnet", "widths": [64, 256, 256]}}
    recipe |= {"optimizer": {"name": "sgd", "lr": 0.4, "momentum": 0.9}, "schedule": {"name": "cosine", "floor": 0.0}}
    lines = ["task: " + task, "epochs: 30", "net:", "  name: convnet", "  widths: [64, 256, 256]", "optimizer:"]
    write_text(folder / "recipe.yaml", "\n".join([*lines, "  name: sgd", "  lr: 0.4", "  momentum: 0.9", ""]))
    reasons = [
        {"key": "net.name", "value": "convnet", "reason": "pictures of 32 x 32: the net of small images", "by": "auto"},
        {"key": "optimizer.lr", "value": 0.4, "reason": "range test: steepest fall at 0.41", "by": "auto"},
        {"key": "minutes", "value": 20, "reason": "given on the command line", "by": "user"},
        {"key": "seed", "value": 0, "reason": "", "by": "default"},
    ]
    write_json(folder / "choices.json", reasons)
    files = {"train": [f"{i}.png" for i in range(50)], "val": ["50.png"], "test": ["51.png", "52.png"]}
    counts = {split: {name: len(names) * 3 + i for i, name in enumerate(classes)} for split, names in files.items()}
    quarantined = [{"file": "train/cat/0001.png", "reason": "the file ends in the middle of the picture"}]
    data = {"source": "../data/cifar10.zip", "layout": "folders", "task": task, "classes": list(classes)}
    data |= {"splits": files, "counts": counts, "quarantined": quarantined, "errors": []}
    data |= {"warnings": ["train/dog/17.png and val/dog/3.png are the same picture: the copy in train was dropped"]}
    data |= {"rules": ["EXIF orientation applied to 3 files", "grey pictures repeated to 3 channels: 12 files"]}
    data |= {"sizes": {"32 x 32": 52, "40 x 30": 1}, "stats": {"mean": [0.4914, 0.4822, 0.4465]}}
    data |= {"duplicates": [["train/dog/17.png", "val/dog/3.png"]], "leaks": [["train/dog/17.png", "val/dog/3.png"]]}
    data |= {"notes": {"16-bit levels kept": 2}, "flat": [], "imbalance": 1.06}
    if task == "segmentation":
        data["pixels"] = {split: {name: 10 ** (5 - i) for i, name in enumerate(classes)} for split in files}
    write_json(folder / "data.json", data)
    versions = {"provenet": "0.1.0", "torch": "2.15.0", "python": "3.11.9"}
    provenance = {"versions": versions, "device": "cpu", "threads": 2, "precision": "bf16", "seed": 0}
    provenance |= {"git": {"commit": "0f3c", "dirty": False}, "recipe_sha256": "ab" * 32}
    write_json(folder / "provenance.json", provenance)


def write_result(folder: Path, task: str, classes: tuple[str, ...]) -> None:
    rng = np.random.default_rng(2)
    if task == "classification":
        each = max(10, 10_000 // len(classes))
        lifts = {"val": 0.001, "test": 0.0, "train": 0.035}
        splits = {name: classification_split(classes, each, rng, lift) for name, lift in lifts.items()}
        primary, baseline = "accuracy", ("always answering 'cat'", 1 / len(classes))
    else:
        splits = {name: segmentation_split(classes, 134, lift) for name, lift in (("test", 0.0), ("train", 0.02))}
        primary, baseline = "dice", ("Otsu's threshold", 0.828)
    training = {"steps": 1170, "epochs": 30.0, "seconds": 973.4, "stopped": "the budget of steps was used"}
    training |= {"best_step": 1131, "best_epoch": 29.0, "images_per_s": 1442.0, "loader_share": 0.04}
    training |= {"parameters": 1_932_810, "flops": 118_000_000, "budget": {"minutes": 20}}
    result = {"task": task, "classes": list(classes), "primary": primary, "splits": splits, "training": training}
    result["gap"] = {"metric": primary, "value": 0.041, "low": 0.034, "high": 0.047}
    row = {"name": baseline[0], "split": "test", "metrics": {primary: figure(baseline[1])}}
    result["baselines"] = [row, {"name": "chance", "split": "test", "metrics": {primary: figure(0.05)}}]
    write_json(folder / "result.json", result)


@pytest.fixture
def make_run(tmp_path: Path) -> RunMaker:
    """Return a maker of run folders."""

    def make(
        name: str = "run",
        task: str = "classification",
        classes: tuple[str, ...] = CIFAR,
        finished: bool = True,
        num_epochs: int = 30,
        num_views: int = 6,
    ) -> Path:
        folder = tmp_path / name
        write_origin(folder, task, classes)
        write_curves(folder, "accuracy" if task == "classification" else "dice", num_epochs, 39, 30)
        write_log(folder / "events.jsonl", [{"step": 480, "kind": "resume", "text": "went on from step 468"}])
        if finished:
            write_result(folder, task, classes)
            write_views(folder / "views", task, classes, num_views, np.random.default_rng(3))
        else:
            (folder / "result.json").unlink(missing_ok=True)
        return folder

    return make
