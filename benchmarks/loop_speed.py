"""How fast the training loop is: images/s over two references, measured side by side in one process.

    python benchmarks/loop_speed.py DATA [key=value ...] [--rounds 5] [--steps 12] [--out FILE.json]

* limit: the same net, batch and number format on one batch held in memory, forward + backward + optimizer step;
* plain: the same net in float32 with torch's usual loop, a DataLoader with two workers that decodes image files, and
  torchvision v2 transforms that draw the same kinds of augmentation.

The three are interleaved; figures are medians over rounds, ratios are medians of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms import v2

from provenet.core.log import Silent
from provenet.data.dataset import Dataset, prepare
from provenet.data.index import read_index
from provenet.data.options import DataOptions
from provenet.data.survey import survey
from provenet.engine.checkpoint import Checkpoints
from provenet.engine.job import Job, Validation
from provenet.engine.loop import Loop
from provenet.engine.observe import Observers, StepInfo
from provenet.engine.precision import exact_arithmetic, keep_freed_memory
from provenet.engine.probe import prepared
from provenet.engine.step import clip_, forward_loss
from provenet.recipe.build import Session, build_session, fit_stats
from provenet.recipe.choose import choose
from provenet.recipe.load import gather, load
from provenet.recipe.schema import Recipe
from provenet.run.folder import RunFolder, RunJournal
from provenet.run.planning import facts_of, said_by
from provenet.run.provenance import fingerprint

Round = Callable[[int], float]


class Watch:
    """Notes when each update was made."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def step(self, info: StepInfo) -> None:
        self.times.append(time.perf_counter())

    def validated(self, row: dict[str, Any]) -> None:
        pass

    def event(self, row: dict[str, Any]) -> None:
        pass


def limit_round(session: Session) -> Round:
    """Return a round on one resident batch: seconds an update."""
    job, net = session.job, copy.deepcopy(session.net)
    optimizer = session.optimizer_for(net)
    batch = prepared(job, 1)[0]

    def run(steps: int) -> float:
        net.train()
        times: list[float] = []
        for _ in range(steps):
            began = time.perf_counter()
            forward_loss(job, net, batch).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            times.append(time.perf_counter() - began)
        return statistics.median(times)

    return run


def loop_round(session: Session) -> Round:
    """Return a round of the real training loop with logs, average and checkpoints: seconds an update."""

    def nothing(net: nn.Module) -> Validation:
        return Validation(0.0, {}, {})

    def run(steps: int) -> float:
        job: Job = replace(session.job, total_steps=steps, steps_per_validation=10**9, validate=nothing)
        watch = Watch()
        with tempfile.TemporaryDirectory() as folder:
            run_folder = RunFolder(Path(folder))
            journal = RunJournal(run_folder)
            state = session.new_state()
            Loop(job, state, Checkpoints(run_folder.checkpoints), journal, Observers([watch])).run()
            journal.close()
        return statistics.median(np.diff(watch.times))

    return run


class Files(TorchDataset[tuple[Tensor, Tensor]]):
    """Image files with labels or masks, as a user of torchvision would read them."""

    def __init__(self, rows: list[tuple[Path, int | Path]], transform: v2.Transform) -> None:
        self.rows, self.transform = rows, transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        path, truth = self.rows[i]
        image = tv_tensors.Image(decode_image(read_file(str(path)), ImageReadMode.RGB))
        if isinstance(truth, Path):
            mask = tv_tensors.Mask(decode_image(read_file(str(truth)), ImageReadMode.GRAY) > 0)
            image, mask = self.transform(image, mask)
            return image, mask[0].long()
        return self.transform(image), torch.tensor(truth)


def transforms(session: Session) -> v2.Transform:
    """Return torchvision transforms of the same kinds as the recipe's augmentation."""
    height, width = session.recipe.view.size
    parts: list[v2.Transform] = []
    if session.recipe.view.resize == "window":
        parts.append(v2.RandomCrop((height, width), pad_if_needed=True, padding_mode="reflect"))
    elif not session.recipe.augment or all(member.name != "crop" for member in session.recipe.augment):
        parts.append(v2.Resize((height, width), antialias=True))
    for member in session.recipe.augment:
        match member.name:
            case "flip":
                parts.append(v2.RandomHorizontalFlip())
                if getattr(member, "axis", "") == "both":
                    parts.append(v2.RandomVerticalFlip())
            case "rotate":
                parts.append(v2.RandomAffine(getattr(member, "max_deg", 15.0), scale=(0.8, 1.25)))
            case "shift":
                parts.append(v2.RandomCrop((height, width), padding=2, padding_mode="reflect"))
            case "crop":
                parts.append(v2.RandomResizedCrop((height, width), scale=(0.35, 1.0), antialias=True))
            case "brightness":
                parts.append(v2.ColorJitter(brightness=0.2, contrast=0.2))
    stats = session.stats
    parts += [
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(
            [value / 255 for value in stats.mean] * (3 // len(stats.mean)),
            [v / 255 for v in stats.std] * (3 // len(stats.std)),
        ),
    ]
    return v2.Compose(parts)


def exported(session: Session, folder: Path, most: int = 6000) -> list[tuple[Path, int | Path]]:
    """Write training pictures as PNG files and return them with their truths."""
    dataset: Dataset = session.dataset
    rows: list[tuple[Path, int | Path]] = []
    for i in dataset.splits["train"][:most]:
        path = folder / f"{i}.png"
        picture = np.repeat(dataset.store.image(int(i)), 3 // dataset.store.channels, axis=2)
        cv2.imwrite(str(path), picture[..., ::-1])
        if dataset.labels is not None:
            rows.append((path, int(dataset.labels[i])))
        else:
            truth = folder / f"{i}-mask.png"
            cv2.imwrite(str(truth), (dataset.store.mask(int(i)) == 1).astype(np.uint8) * 255)
            rows.append((path, truth))
    return rows


def plain_round(session: Session, folder: Path) -> Round:
    """Return a round of torch's usual loop in float32: seconds an update."""
    recipe = session.recipe.model_copy(update={"precision": "fp32", "channels_last": False})
    plain = build_session(recipe, session.dataset, session.stats)
    net, optimizer = plain.net, None
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    files = Files(exported(session, folder), transforms(session))
    loader = DataLoader(
        files, session.recipe.batch_size, shuffle=True, num_workers=2, persistent_workers=True, drop_last=True
    )

    def endless() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from loader

    batches = endless()
    grey = session.dataset.store.channels == 1

    def run(steps: int) -> float:
        net.train()
        times: list[float] = []
        began = time.perf_counter()
        for _ in range(steps):
            images, targets = next(batches)
            loss = plain.job.loss.compute(net(images[:, :1] if grey else images), targets)
            loss.backward()
            clip_(net, plain.job.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            now = time.perf_counter()
            times.append(now - began)
            began = now
        return statistics.mean(times[1:])

    return run


def automatic(data: str, words: list[str]) -> tuple[Recipe, Dataset]:
    """Return the recipe that `provenet train` would choose, and the data."""
    overrides = gather(None, words)
    index = read_index(data)
    found = survey(index, DataOptions(**(overrides.get("data") or {})))
    choices = choose(facts_of(found, overrides), said_by(overrides))
    recipe = load(overrides, {choice.key: choice.value for choice in choices})
    return recipe, prepare(index, recipe.data, Path("runs/.store"), Silent())


def measure(data: str, words: list[str], rounds: int, steps: int) -> dict[str, Any]:
    """Return the figures of one data set."""
    recipe, dataset = automatic(data, words)
    session = build_session(recipe, dataset, fit_stats(recipe, dataset))
    with tempfile.TemporaryDirectory() as folder:
        sides = {
            "limit": limit_round(session),
            "loop": loop_round(session),
            "plain": plain_round(session, Path(folder)),
        }
        for run in sides.values():
            run(3)
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(rounds):
            for name, run in sides.items():
                seconds[name].append(run(steps))
            print(
                f"round {number + 1}: "
                + ", ".join(f"{name} {recipe.batch_size / s[-1]:.1f}/s" for name, s in seconds.items())
            )
    images = {name: [recipe.batch_size / value for value in values] for name, values in seconds.items()}
    ratios = {
        "loop_over_limit": [a / b for a, b in zip(images["loop"], images["limit"], strict=True)],
        "loop_over_plain": [a / b for a, b in zip(images["loop"], images["plain"], strict=True)],
    }
    return {
        "data": Path(data).name,
        "net": recipe.net.model_dump(mode="json"),
        "batch_size": recipe.batch_size,
        "view": list(recipe.view.size),
        "rounds": rounds,
        "steps_a_round": steps,
        "images_per_s": images,
        "median_images_per_s": {name: round(statistics.median(values), 1) for name, values in images.items()},
        "ratios": ratios,
        "median_ratios": {name: round(statistics.median(values), 3) for name, values in ratios.items()},
        "machine": fingerprint(recipe.device, recipe.precision),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    keep_freed_memory()
    with exact_arithmetic():
        found = measure(args.data, args.words, args.rounds, args.steps)
    print(json.dumps({key: found[key] for key in ("data", "median_images_per_s", "median_ratios")}, indent=1))
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
