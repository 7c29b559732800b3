"""What all nets have in common: a head, a number of classes, and their parameters named by depth."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn


class Net(nn.Module):
    """Base of all nets: normalised images N C H W of any H and W in, logits N K or N K H W out.

    Attributes:
        num_classes: K.
        head: the last layers, which depend on the classes; the only part that transfer replaces.
    """

    num_classes: int
    head: nn.Module

    def sections(self) -> list[tuple[str, nn.Module]]:
        """Return the parts between images and head with their names, input first."""
        raise NotImplementedError

    def groups(self) -> list[tuple[str, list[str]]]:
        """Return the names of all parameters by depth: input first, `("head", ...)` last, each name once.

        A section without parameters is left out.
        """
        names = {id(parameter): name for name, parameter in self.named_parameters()}
        head = [names.pop(id(parameter)) for parameter in self.head.parameters()]
        groups = []
        for section, module in self.sections():
            keys = [id(parameter) for parameter in module.parameters()]
            if found := [names.pop(key) for key in keys if key in names]:
                groups.append((section, found))
        assert not names, f"parameters outside every section: {sorted(names.values())}"
        return [*groups, ("head", head)]


@runtime_checkable
class Encoder(Protocol):
    """What turns images into features at several resolutions, finest first: the contracting half of a segmenter.

    Attributes:
        channels: channels of each feature map.
        reductions: pixels of the image per pixel of each feature map, ascending.
    """

    channels: list[int]
    reductions: list[int]

    def sections(self) -> list[tuple[str, nn.Module]]:
        """Return the parts with their names, input first."""

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps of images whose sides are multiples of the last reduction."""


@runtime_checkable
class NeedsImages(Protocol):
    """A net that looks at training images once before training (data-dependent filters).

    Whoever builds the net for training calls `prepare_` after `initialize_`; a net loaded from a checkpoint
    carries what it needs in its weights.
    """

    def prepare_(self, images: Tensor) -> None:
        """Set the data-dependent tensors from normalised training images, N C H W, float32."""
