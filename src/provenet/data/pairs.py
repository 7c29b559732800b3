"""The layout of segmentation: images and masks in two folders, paired by name."""

from __future__ import annotations

from collections import defaultdict

from provenet.core.errors import Fault, listed
from provenet.data.splits import apply_lists
from provenet.data.tables import given_split, split_folders
from provenet.data.tree import Found, Item, Tree, stem

IMAGE_FOLDERS = ("images", "imgs")
MASK_FOLDERS = ("masks", "labels", "annotations")


def find_pairs(tree: Tree) -> Found | None:
    """Return what `images/` and `masks/` hold, here or under train/, val/ and test/; None where there are none."""
    folders = _folders(tree)
    if folders:
        found = Found("{}/ and {}/ paired by name".format(*folders), "segmentation")
        _pair(tree, folders, None, found)
        apply_lists(tree, found)
        _outside(tree, folders, found)
    else:
        splits = split_folders(tree.tops)
        parts = {top: (part, _folders(part)) for top in splits for part in [tree.below(top)]}
        if not any(folders for _, folders in parts.values()):
            return None
        found = Found(f"images and masks paired by name under {', '.join(f'{top}/' for top in splits)}", "segmentation")
        for top, (part, folders) in parts.items():
            if folders:
                _pair(part, folders, given_split(splits[top], splits), found)
            _outside(part, folders, found)
        _outside(tree, tuple(splits), found)
    found.faults += _unusable(found)
    return found


def _folders(tree: Tree) -> tuple[str, str] | tuple[()]:
    """Return the names of the folder of images and of the folder of masks, or nothing."""
    by_lower = {top.lower(): top for top in tree.tops if top}
    images = next((by_lower[name] for name in IMAGE_FOLDERS if name in by_lower), None)
    masks = next((by_lower[name] for name in MASK_FOLDERS if name in by_lower), None)
    return (images, masks) if images and masks else ()


def _outside(tree: Tree, inside: tuple[str, ...], found: Found) -> None:
    """Count the images that lie elsewhere as ignored."""
    for top, names in tree.tops.items():
        if top not in inside:
            found.ignored["outside the folders of images and masks"] += tree.full(
                f"{top}/{name}" if top else name for name in names
            )


def _pair(tree: Tree, folders: tuple[str, str], split: str | None, found: Found) -> None:
    """Add one item for each image that has exactly one mask, and say of the others what is missing."""
    image_folder, mask_folder = folders
    images, masks = _by_stem(tree, image_folder), _by_stem(tree, mask_folder)
    for name in [name for name in masks if name.lower().endswith("_mask") and name not in images]:
        masks[name[: -len("_mask")]] += masks.pop(name)
    for name, files in images.items():
        partners = masks.get(name, [])
        if len(files) == 1 and len(partners) == 1:
            found.items.append(Item(files[0], mask=partners[0], split=split))
            continue
        for file in files:
            found.missing.append((file, _why(files, partners, f"{tree.prefix}{mask_folder}/{name}")))
    for name in masks.keys() - images.keys():
        found.ignored["mask without an image"] += masks[name]


def _by_stem(tree: Tree, folder: str) -> dict[str, list[str]]:
    """Return name without suffix -> full names of the images in a folder."""
    files: dict[str, list[str]] = defaultdict(list)
    for name in tree.tops[folder]:
        files[stem(name)].append(f"{tree.prefix}{folder}/{name}")
    return files


def _why(files: list[str], masks: list[str], expected: str) -> str:
    """Return why an image has no mask of its own."""
    if not masks:
        return f"no mask: there is no {expected} with the suffix of an image, nor {expected}_mask"
    if len(masks) > 1:
        return f"{len(masks)} masks: {listed(masks, 3)}"
    return f"{len(files)} images for one mask: {listed(files, 3)}"


def _unusable(found: Found) -> list[Fault]:
    """Return what makes training impossible, whatever the masks hold."""
    if not found.items and not found.faults:
        example = found.missing[0] if found.missing else ("", "the folder of images is empty")
        return [Fault("no image has a mask", f"{example[0]}: {example[1]}", "", "give both the same name")]
    splits = {item.split for item in found.items}
    if splits - {None} and "train" not in splits:
        return [Fault("no image for training", f"splits {listed(sorted(filter(None, splits)))}", "", "name some train")]
    return []
