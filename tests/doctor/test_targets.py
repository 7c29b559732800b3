"""Checks of targets: masks, classes, weights, pairing and transforms, made ill in several ways, and sound ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.doctor.scenes import batches, classifier, dice, foreground, found_by, resized, scenes, segmenter
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss
from torchvision.transforms import v2

from provenet.doctor.alignment import align, regions
from provenet.doctor.checks import augmentation, classes, masks, relation, weights
from provenet.doctor.ribbons import enlarged, read_ribbons

CHECKS = {check.id: check for family in (masks, classes, weights, relation, augmentation) for check in family.CHECKS}
CE, BCE = nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()
SEEN = scenes()
BINARY = foreground(SEEN.masks)
GENERATOR = torch.Generator().manual_seed(0)
HALF = torch.rand(48, 1, 1, 1, generator=GENERATOR) < 0.5


def look(id: str, targets: Tensor, loss=None, inputs: Tensor = SEEN.images, **more):
    """Look at masks: a plane of floats is for one score a pixel, whole numbers for one of four classes."""
    net = segmenter(targets.shape[1] if targets.is_floating_point() else 4)
    return found_by(
        CHECKS[id], net, batches(inputs, targets), loss or (BCE if targets.is_floating_point() else CE), **more
    )


def look_at_labels(id: str, labels: Tensor, loss=CE, inputs: Tensor = SEEN.images, **more):
    net = classifier(1 if labels.dim() == 2 else max(int(labels.max()) + 1, 3))
    return found_by(CHECKS[id], net, batches(inputs, labels), loss, **more)


def outlined(labels: Tensor) -> Tensor:
    """Return 2 inside, 1 on a rim a pixel wide, 0 outside: a class of outlines that lies between on purpose."""
    inside = (labels > 0).float()
    return torch.where(inside > 0, 2, F.max_pool2d(inside, 3, 1, 1).long())


VOID = torch.where(torch.arange(32)[:, None] < 3, 255, SEEN.masks)
SOUND_MASKS = {
    "four classes": (SEEN.masks, CE),
    "one score": (BINARY, BCE),
    "one plane a class": (F.one_hot(SEEN.masks, 4).permute(0, 3, 1, 2).float(), BCE),
    "void": (VOID, nn.CrossEntropyLoss(ignore_index=255)),
    "outlines": (outlined(SEEN.masks), CE),
    "smoothed labels": (BINARY * 0.9 + 0.05, BCE),
    "heat maps": (F.avg_pool2d(BINARY, 15, 1, 7), BCE),
    "distances": (F.avg_pool2d(BINARY, 3, 1, 1), nn.MSELoss()),
    "two annotators": ((BINARY + foreground(SEEN.masks.roll(1, 2))) / 2, BCE),
    "dice": (BINARY, lambda out, y: BCE(out, y) + dice(out, y)),
    "weighted": (BINARY, nn.BCEWithLogitsLoss(pos_weight=torch.tensor(8.0))),
}


@pytest.mark.parametrize("name", SOUND_MASKS)
def test_silent_on_sound_masks(name):
    targets, loss = SOUND_MASKS[name]
    flip = lambda images, masks: (images.flip(-1), masks.flip(-1))
    for id in (
        "mask-interpolated",
        "mask-misaligned",
        "class-imbalance",
        "class-weights-inverted",
        "ignore-index-hides-data",
    ):
        assert look(id, targets, loss, transform=flip) is None, id


def enlarged_by(times: int, corners: bool) -> Tensor:
    """Return masks that were kept at a fraction of the size, (N, 1, 30, 30), or a pixel more than that."""
    small = F.interpolate(BINARY, 30 // times, mode="bilinear", antialias=True)
    size = 30 // times * times - (times - 1 if corners else 0)
    return F.interpolate(small, size, mode="bilinear", align_corners=corners)


SMEARED = {
    "bilinear": resized(SEEN.masks > 0, "bilinear")[:, None],
    "bilinear, 0 to 255": resized(SEEN.masks > 0, "bilinear")[:, None] * 255,
    "bicubic within [0, 1]": resized(SEEN.masks > 0, "bicubic").clamp(0, 1)[:, None],
    "rounded": resized(SEEN.masks, "bilinear").round().long(),
    "cut to whole numbers": resized(SEEN.masks, "bilinear").long(),
    "halved": F.avg_pool2d(SEEN.masks[:, None].float(), 2)[:, 0].repeat_interleave(2, 1).repeat_interleave(2, 2).long(),
    "enlarged six times": enlarged_by(6, False),
    "enlarged five times, corners kept": enlarged_by(5, True),
}


@pytest.mark.parametrize("name", SMEARED)
def test_interpolated_masks(name):
    masks = SMEARED[name]
    inputs = F.interpolate(SEEN.images, masks.shape[-2:])
    assert look("mask-interpolated", masks, inputs=inputs).severity == "warning"


@pytest.mark.parametrize("times", [3, 4, 6, 10])
def test_how_often_masks_were_enlarged_is_measured(times):
    small = (torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(times)) > 0.7).float()
    assert enlarged(F.interpolate(small, scale_factor=times, mode="bilinear")) == times
    assert enlarged(F.interpolate(small, scale_factor=times, mode="nearest")) == 0
    assert enlarged(F.interpolate(small, scale_factor=times, mode="bicubic")) == 0


def test_thin_things_are_no_ribbons():
    """Wires two pixels wide, of any class, before other things: one in three lies between by its number."""
    stream = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 6, (48, 8, 8), generator=stream).repeat_interleave(4, 1).repeat_interleave(4, 2)
    for mask in masks:
        place, kind = torch.randint(0, 30, (1,), generator=stream), torch.randint(0, 6, (1,), generator=stream)
        mask[:, int(place) : int(place) + 2] = kind
    assert found_by(CHECKS["mask-interpolated"], segmenter(6), batches(SEEN.images, masks), CE) is None


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_masks_resized_by_nearest_neighbour(mode):
    assert look("mask-interpolated", resized(SEEN.masks, mode).long()) is None


def test_ribbons_are_counted_by_hand():
    row = torch.tensor([0, 0, 1, 3, 3, 2, 2, 0, 0, 1, 1, 1, 1, 1])
    mask = row.expand(1, 14, 14).clone()
    ribbons = read_ribbons(mask, None)
    assert ribbons.passages == 2 * 14
    assert ribbons.share == pytest.approx(2 / 4)
    assert ribbons.below == 14
    assert 2 in ribbons.classes and ribbons.thick[2] == 0
    assert read_ribbons(mask, 2).passages == 14


MOVED = {
    "mirrored": (SEEN.images.flip(-1), "mirrored left to right", "error"),
    "half mirrored": (torch.where(HALF, SEEN.images.flip(-2), SEEN.images), "mirrored top to bottom", "warning"),
    "transposed": (SEEN.images.mT, "transposed", "error"),
    "shifted": (SEEN.images.roll((6, -5), (2, 3)), None, None),
    "turned": (torch.stack([v2.functional.rotate(one, 20.0) for one in SEEN.images]), None, None),
}


@pytest.mark.parametrize("name", MOVED)
@pytest.mark.parametrize("targets", [SEEN.masks, BINARY], ids=["classes", "plane"])
def test_masks_that_do_not_move_along(name, targets):
    images, how, severity = MOVED[name]
    found = look("mask-misaligned", targets, inputs=images.contiguous())
    assert found.loud and severity in (None, found.severity)
    assert how is None or found.evidence["most_often"] == how


def test_a_transform_that_moves_pictures_only():
    found = look("mask-misaligned", SEEN.masks, transform=lambda images: images.flip(-1))
    assert found.layer == "transform"
    assert look("mask-misaligned", SEEN.masks, transform=lambda images: images + 0.1) is None


def test_alignment_of_a_picture_that_is_its_mask():
    found = align(BINARY.repeat(1, 3, 1, 1), regions(SEEN.masks[:, None]))
    assert bool((found.here > 0.7).all()) and bool((found.here > 0.95 * found.turned.moved).all())
    noise = torch.randn(48, 3, 32, 32, generator=GENERATOR)
    assert float(align(noise, regions(SEEN.masks[:, None])).here.median()) < 0.15


def _leaving_out(value: int):
    return lambda out, y: F.cross_entropy(out, y, reduction="none")[y != value].mean()


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(ignore_index=0), _leaving_out(0)], ids=["index", "own"])
def test_a_class_that_the_loss_leaves_out(loss):
    found = look("ignore-index-hides-data", SEEN.masks, loss)
    assert found.severity == "warning" and "class 0" in found.message


def test_targets_that_are_ignored():
    ignoring = nn.CrossEntropyLoss(ignore_index=255)
    alone = look("ignore-index-hides-data", torch.where(SEEN.masks > 0, 255, 0), ignoring)
    assert alone.severity == "error" and "only class 0 is left" in alone.message
    lost = torch.where(SEEN.masks[..., :1] == 0, 255, SEEN.masks)
    assert look("ignore-index-hides-data", lost, ignoring).severity == "error"
    scribbles = torch.where(torch.rand(SEEN.masks.shape, generator=GENERATOR) < 0.7, 255, SEEN.masks)
    assert look("ignore-index-hides-data", scribbles, ignoring).severity == "info"
    moved = torch.where(scribbles == 255, 255, (scribbles - 1) % 256)
    assert "moved down by one" in look("ignore-index-hides-data", moved, ignoring).message
    labels = look_at_labels("ignore-index-hides-data", SEEN.labels, nn.CrossEntropyLoss(ignore_index=2))
    assert labels.severity == "warning"


COUNTS = torch.bincount(SEEN.masks.flatten(), minlength=4).float()


def _weighed(weight: Tensor):
    return lambda out, y: (F.cross_entropy(out, y, reduction="none") * weight[y]).mean()


@pytest.mark.parametrize(
    "loss", [nn.CrossEntropyLoss(COUNTS / COUNTS.sum()), _weighed(COUNTS / COUNTS.sum())], ids=["given", "own"]
)
def test_inverted_weights_of_masks(loss):
    assert look("class-weights-inverted", SEEN.masks, loss).severity == "warning"


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(COUNTS.sum() / COUNTS), _weighed(1 / COUNTS), CE])
def test_weights_that_are_right(loss):
    assert look("class-weights-inverted", SEEN.masks, loss) is None


def test_inverted_weights_of_labels():
    rare = (torch.arange(48) % 6 == 0).long()
    assert look_at_labels("class-weights-inverted", rare, nn.CrossEntropyLoss(torch.tensor([5.0, 1.0, 1.0]))).loud
    low = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(0.2))
    assert look_at_labels("class-weights-inverted", rare[:, None].float(), low).loud
    high = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(5.0))
    assert look_at_labels("class-weights-inverted", rare[:, None].float(), high) is None
    uneven = nn.CrossEntropyLoss(torch.tensor([1.0, 3.0, 1.0]))
    assert look_at_labels("class-weights-inverted", SEEN.labels, uneven) is None


SORTED = SEEN.labels.argsort()


@pytest.mark.parametrize("labels", [SEEN.labels[SORTED], torch.arange(48) // 4, torch.zeros(48).long()])
def test_sorted_batches(labels):
    assert look_at_labels("unshuffled-batches", labels).severity == "warning"


def test_batches_in_any_order():
    assert look_at_labels("unshuffled-batches", SEEN.labels) is None
    assert look_at_labels("unshuffled-batches", torch.arange(48) % 12) is None
    sampler = torch.cat([torch.arange(4).repeat(4) + 4 * place for place in range(3)])
    assert not look_at_labels("unshuffled-batches", sampler).loud
    many = scenes(128, 3)
    assert look_at_labels("unshuffled-batches", (many.labels == 0)[:, None].float(), BCE, many.images) is None


MANY = scenes(96, 2)
RARE = (torch.arange(96) % 48 == 0).long()


def test_rare_classes():
    assert look_at_labels("class-imbalance", RARE, CE, MANY.images).severity == "warning"
    assert look_at_labels("class-imbalance", RARE[:, None].float(), BCE, MANY.images).severity == "warning"
    heavy = nn.CrossEntropyLoss(torch.tensor([1.0, 20.0, 1.0]))
    assert look_at_labels("class-imbalance", RARE, heavy, MANY.images) is None
    for every in (4, 6, 8):
        mild = (torch.arange(96) % every == 0).long()
        assert look_at_labels("class-imbalance", mild, CE, MANY.images) is None


DOTS = torch.zeros(48, 1, 32, 32)
DOTS[:, :, 10:13, 12:15] = 1


@pytest.mark.parametrize("targets", [DOTS, DOTS[:, 0].long()], ids=["plane", "classes"])
def test_a_rare_foreground(targets):
    assert look("class-imbalance", targets).severity == "warning"


def test_losses_that_see_a_rare_foreground():
    focal = lambda out, y: sigmoid_focal_loss(out, y, reduction="mean")
    for loss in (
        dice,
        focal,
        lambda out, y: BCE(out, y) + dice(out, y),
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor(50.0)),
    ):
        assert look("class-imbalance", DOTS, loss) is None
        assert look("class-weights-inverted", DOTS, loss) is None
    assert look("class-imbalance", DOTS * 0).severity == "error"


ORDER = torch.randperm(48, generator=GENERATOR)


@pytest.mark.parametrize("order", [torch.arange(48).roll(1), ORDER], ids=["off by one", "shuffled"])
def test_masks_of_other_pictures_of_the_batches(order):
    found = look("labels-uninformative", SEEN.masks[order])
    assert found.severity == "error"
    picture, beside = found.evidence["picture"], found.evidence["its_mask_stands_beside"]
    assert order[beside] == picture


def test_labels_that_belong_to_the_next_picture():
    colors = torch.where(
        SEEN.labels[:, None, None, None] == torch.arange(3)[:, None, None], SEEN.images + 2, SEEN.images
    )
    right = look_at_labels("labels-uninformative", SEEN.labels, inputs=colors)
    found = look_at_labels("labels-uninformative", SEEN.labels.roll(1), inputs=colors)
    assert right is None and found.severity == "error" and found.evidence["shift"] == -1


def _arrows(num: int) -> tuple[Tensor, Tensor]:
    """Return arrows to the left (0) and to the right (1)."""
    images, labels = torch.randn(num, 3, 16, 16, generator=GENERATOR) * 0.3, torch.arange(num) % 2
    for place, label in enumerate(labels.tolist()):
        for reach in range(5):
            images[place, :, 8 - reach : 9 + reach, 12 - reach if label else 3 + reach] += 2
    return images, labels


def _mirrored(images: Tensor) -> Tensor:
    return images.flip(-1) if torch.rand(()) < 0.5 else images


def _drowned(images: Tensor) -> Tensor:
    return images * 0.01 + 3 * torch.randn_like(images)


def flat() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 16), nn.ReLU(), nn.Linear(16, 2))


def look_at_transform(transform, net: nn.Module | None = None):
    given = batches(*_arrows(128), 32)
    return found_by(CHECKS["augmentation-changes-label"], net or flat(), given, CE, transform=transform)


@pytest.mark.parametrize(
    "transform", [_mirrored, _drowned, lambda x: x * 0, v2.Compose([v2.RandomHorizontalFlip(), v2.RandomErasing()])]
)
def test_transforms_that_change_labels(transform):
    assert look_at_transform(transform).severity == "warning"


@pytest.mark.parametrize(
    "transform",
    [
        lambda x: x + 0.2 * torch.randn_like(x),
        lambda x: x.flip(-2),
        v2.RandomErasing(),
        lambda x, y: (x.flip(-1), 1 - y),
    ],
)
def test_transforms_that_keep_labels(transform):
    assert look_at_transform(transform) is None


def test_a_crop_that_loses_the_objects():
    found = look(
        "augmentation-changes-label", BINARY, transform=lambda images, masks: (images[..., :8, :8], masks[..., :8, :8])
    )
    assert found.evidence["foreground_after"] < 0.3 * found.evidence["foreground_before"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_labels_in_random_order(seed):
    """Small pictures are learned by heart; of labels in random order a fifth of the seeds pass by chance."""
    many = scenes(192, 11, 16)
    order = torch.randperm(192, generator=torch.Generator().manual_seed(seed))
    found = [
        found_by(CHECKS["labels-uninformative"], _wide(), batches(many.images, labels, 48), CE)
        for labels in (many.labels, many.labels[order])
    ]
    assert found[0] is None and found[1] is not None and found[1].severity == "warning"


def _wide() -> nn.Sequential:
    torch.manual_seed(0)
    conv = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*conv, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 3))
