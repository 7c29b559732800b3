"""timm's networks behind the face of ours: a classifier, and an encoder for segmentation."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from provenet.core.errors import Fault, RecipeError, listed, near
from provenet.core.rng import derive
from provenet.nets.net import Net
from provenet.nets.pad import pad_to_size

PREFIX = "timm:"
_CONNECT_S = 3.0
_SMALLEST = 32  # the reduction of most backbones: below it nothing is left to convolve


class TimmClassifier(Net):
    """A timm network as a classifier.

    Images whose sides are below 32 pixels are padded up; a network of one fixed input size (most transformers) gets
    the images resampled to it, bilinearly.

    Args:
        name: a name of `timm.list_models()`, with or without the tag of its weights.
        num_classes: K.
        in_channels: C; timm adapts pretrained weights of the first layer.
        pretrained: load the weights that timm names, from its cache or the hub.
    """

    def __init__(self, name: str, num_classes: int, in_channels: int = 3, pretrained: bool = False) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.pretrained = pretrained
        self._made_of = (name, {"num_classes": num_classes, "in_chans": in_channels})
        self.body: Any = _create(name, pretrained, num_classes=num_classes, in_chans=in_channels)
        self.size: tuple[int, int] | None = _fixed_size(self.body)

    @property
    def head(self) -> nn.Module:  # type: ignore[override]
        """The classifier, which timm keeps under a name that differs from net to net."""
        return self.body.get_classifier()

    def sections(self) -> list[tuple[str, nn.Module]]:
        return _sections(self.body)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits N K of normalised images N C H W."""
        if self.size is not None:
            images = F.interpolate(images, self.size, mode="bilinear", antialias=True)
        return self.body(pad_to_size(images, _SMALLEST, _SMALLEST))

    def redraw_(self, seed: int) -> None:
        """Draw the random weights again, as timm does, from a seed: all of them, or the head's when pretrained."""
        fresh = _redrawn(self._made_of, seed)
        part, new = (self.head, fresh.get_classifier()) if self.pretrained else (self.body, fresh)
        part.load_state_dict(new.state_dict())


class TimmEncoder(nn.Module):
    """A timm network as an encoder: its feature maps at several resolutions; see `net.Encoder`.

    Args:
        name: a name of `timm.list_models()`.
        in_channels: C.
        pretrained: load the weights that timm names, from its cache or the hub.

    Raises:
        RecipeError: the name is unknown, the weights cannot be had, or the feature maps are no pyramid.
    """

    def __init__(self, name: str, in_channels: int = 3, pretrained: bool = False) -> None:
        super().__init__()
        self.pretrained = pretrained
        self._made_of = (name, {"features_only": True, "in_chans": in_channels})
        self.body: Any = _create(name, pretrained, features_only=True, in_chans=in_channels)
        self.channels: list[int] = self.body.feature_info.channels()  # type: ignore[union-attr, operator]
        self.reductions: list[int] = self.body.feature_info.reduction()  # type: ignore[union-attr, operator]
        _check_pyramid(self, name, in_channels)

    def sections(self) -> list[tuple[str, nn.Module]]:
        return _sections(self.body)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps of images N C H W, finest first."""
        return self.body(images)

    def redraw_(self, seed: int) -> None:
        """Draw the weights again, as timm does, from a seed; pretrained ones stay."""
        if not self.pretrained:
            self.body.load_state_dict(_redrawn(self._made_of, seed).state_dict())


def timm_classifier(name: str, num_classes: int, in_channels: int = 3, pretrained: bool = False) -> TimmClassifier:
    """Return a timm network as a classifier; see `TimmClassifier`.

    Example:
        >>> net = timm_classifier("test_resnet", 10, in_channels=1)
        >>> net(torch.zeros(2, 1, 9, 40)).shape
        torch.Size([2, 10])
    """
    return TimmClassifier(name.removeprefix(PREFIX), num_classes, in_channels, pretrained)


def _create(name: str, pretrained: bool, **options: Any) -> nn.Module:
    """Make a timm network, or say why it cannot be had."""
    import timm
    from huggingface_hub import constants

    _check_name(name)
    if not pretrained:
        return timm.create_model(name, pretrained=False, **options)
    if not timm.is_model_pretrained(name):
        remedy = "give pretrained=false, or a name that timm.list_pretrained() shows"
        raise RecipeError(Fault(f"timm has no pretrained weights for '{name}'", remedy=remedy))
    silence = _silence(constants.ENDPOINT)
    with _cache_only(bool(silence)):
        try:
            return timm.create_model(name, pretrained=True, **options)
        except OSError as error:  # every failure to reach or read the hub is one (also urllib's and huggingface_hub's)
            raise RecipeError(_out_of_reach(name, silence or _root_of(error))) from error


def _check_name(name: str) -> None:
    """Refuse a name that timm does not know, with the name that was probably meant."""
    import timm

    if not timm.is_model(name):
        known = timm.list_models()
        allowed = near(name, known) or f"the {len(known)} names of timm.list_models()"
        raise RecipeError(Fault("timm has no such network", name, allowed, "look the name up in timm.list_models()"))
    base, _, tag = name.partition(".")
    tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{base}.*")]
    if tag and tag not in tags:
        remedy = near(tag, tags) or f"leave the tag away: {base}"
        raise RecipeError(Fault(f"timm has no weights '{tag}' for {base}", name, listed(tags), remedy))


def _root_of(error: BaseException) -> str:
    """Return the kind and text of the first error of a chain."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return f"{type(error).__name__}: {error}"


def _out_of_reach(name: str, cause: str) -> Fault:
    """Return what to tell when pretrained weights could not be loaded: the cause and three ways out."""
    return Fault(
        f"the pretrained weights of timm:{name} could not be loaded",
        cause,
        remedy="connect to the network once (the weights stay in the cache), or give pretrained=PATH to a .safetensors "
        "file or a provenet run, or pretrained=false",
    )


@contextmanager
def _cache_only(wanted: bool) -> Iterator[None]:
    """Let the hub's client look into its cache only: without an answer it would retry for a minute, by itself."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or wanted
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _silence(url: str) -> str:
    """Return why a server does not answer, or nothing; behind a proxy that cannot be told, so it is tried."""
    if getproxies():
        return ""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port or 443), timeout=_CONNECT_S).close()
    except OSError as error:
        return f"{parts.hostname} does not answer ({error})"
    return ""


def _redrawn(made_of: tuple[str, dict[str, Any]], seed: int) -> Any:
    """Make a timm network again with timm's own initialisation, without touching the global generator."""
    name, options = made_of
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init/timm"))
        return _create(name, False, **options)


def _fixed_size(body: nn.Module) -> tuple[int, int] | None:
    """Return the height and width in pixels that a network insists on, or None."""
    cfg: dict[str, Any] = body.pretrained_cfg  # type: ignore[assignment]
    return tuple(cfg["input_size"][-2:]) if cfg.get("fixed_input_size") else None


def _sections(body: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return a network's parts in the order in which they are written, lists of blocks opened."""
    own = nn.ParameterList(body.parameters(recurse=False))
    sections: list[tuple[str, nn.Module]] = [("tokens", own)] if len(own) else []
    for name, child in body.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            sections += [(f"{name}.{index}", block) for index, block in enumerate(child)]
        else:
            sections.append((name if name != "head" else "neck", child))  # what timm keeps there besides the classifier
    return sections


def _check_pyramid(encoder: TimmEncoder, name: str, in_channels: int) -> None:
    """Refuse an encoder whose feature maps do not halve in whole steps, or that insists on one image size."""
    fault = Fault(
        f"timm:{name} gives no pyramid of features that halve from map to map",
        f"reductions {encoder.reductions}",
        "networks of convolutions such as timm:resnet18, timm:convnext_atto, timm:mobilenetv3_small_050",
    )
    steps = [deep / fine for fine, deep in zip([1, *encoder.reductions], encoder.reductions, strict=False)]
    if _fixed_size(encoder.body) is not None or any(step < 1 or step not in (1, 2, 4, 8, 16) for step in steps):
        raise RecipeError(fault)
    side = 2 * encoder.reductions[-1]
    was_training = encoder.training
    with torch.no_grad():
        features = encoder.eval()(torch.zeros(1, in_channels, side, side))
    encoder.train(was_training)
    expected = [(1, c, side // r, side // r) for c, r in zip(encoder.channels, encoder.reductions, strict=True)]
    if [tuple(feature.shape) for feature in features] != expected:
        raise RecipeError(fault)
