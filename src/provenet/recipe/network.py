"""From a recipe's net and slots to a network."""

from __future__ import annotations

from provenet import nets
from provenet.nets.backbone import TimmEncoder
from provenet.nets.net import Net
from provenet.nets.parts import BodySlots, LayerSlots, SegmenterSlots
from provenet.recipe.nets_spec import FCN, ConvNet, Plain, ResNet, Stem, Timm
from provenet.recipe.schema import Recipe

SMALL_SIDE = 64
"""Views up to this side, in pixels, get the small stem: the large one would leave too little of them."""


def build_net(recipe: Recipe, num_classes: int, in_channels: int) -> Net:
    """Return the network of a recipe, with weights as its makers leave them.

    Args:
        recipe: the resolved recipe.
        num_classes: K.
        in_channels: C.

    Raises:
        RecipeError: the network does not exist, or its pretrained weights cannot be had.
    """
    layers = LayerSlots(norm=recipe.norm, activation=recipe.activation, dropout=recipe.dropout)
    body = BodySlots(**layers, block=recipe.block)
    match recipe.net:
        case ConvNet(widths=widths, convs_per_group=convs):
            return nets.convnet(num_classes, in_channels, widths, convs, **layers)
        case ResNet(depth=depth, stem=stem):
            return nets.resnet(num_classes, in_channels, depth, _stem(stem, recipe), **body)
        case Plain(depth=depth, stem=stem):
            return nets.plain(num_classes, in_channels, depth, _stem(stem, recipe), **layers)
        case Timm(model=model):
            return nets.timm_classifier(model, num_classes, in_channels, recipe.pretrained is True)
        case FCN(levels=levels, width=width):
            return nets.fcn(num_classes, in_channels, _encoder(recipe, in_channels), levels, width, **body)
    decoder = SegmenterSlots(**body, skip=recipe.skip, upsample=recipe.upsample)
    levels, width = recipe.net.levels, recipe.net.width
    return nets.unet(num_classes, in_channels, _encoder(recipe, in_channels), levels, width, **decoder)


def _stem(stem: Stem, recipe: Recipe) -> Stem:
    """Return the stem that fits the images, where it was left open."""
    if stem != "auto" or max(recipe.view.size) > SMALL_SIDE:
        return stem
    return "small"


def _encoder(recipe: Recipe, in_channels: int) -> str | TimmEncoder | None:
    """Return the encoder of a segmentation net: with pretrained weights where the recipe asks for them."""
    name: str | None = getattr(recipe.net, "encoder", None)
    if name is not None and recipe.pretrained is True:
        return TimmEncoder(name.removeprefix("timm:"), in_channels, pretrained=True)
    return name
