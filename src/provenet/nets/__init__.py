"""Networks: plain PyTorch modules from normalised images of any size to logits.

Every net has `num_classes`, `head` and `groups()`, its parameter names by depth. A net with a method `prepare_` (see
`NeedsImages`) wants to look at normalised training images once, after `initialize_` and before training.

Example:
    >>> from provenet import nets
    >>> net = nets.unet(2, width=4)
    >>> nets.count_parameters(net) > 1000
    True
"""

from provenet.nets.backbone import TimmClassifier, TimmEncoder, timm_classifier
from provenet.nets.convnet import ConvNet, convnet
from provenet.nets.count import count_flops, count_parameters
from provenet.nets.fcn import FCN, fcn
from provenet.nets.initialize import initialize_
from provenet.nets.net import Encoder, NeedsImages, Net
from provenet.nets.resnet import Classifier, plain, resnet
from provenet.nets.unet import UNet, unet
from provenet.nets.weights import LoadReport, find_weights, load_weights

__all__ = [
    "FCN",
    "Classifier",
    "ConvNet",
    "Encoder",
    "LoadReport",
    "NeedsImages",
    "Net",
    "TimmClassifier",
    "TimmEncoder",
    "UNet",
    "convnet",
    "count_flops",
    "count_parameters",
    "fcn",
    "find_weights",
    "initialize_",
    "load_weights",
    "plain",
    "resnet",
    "timm_classifier",
    "unet",
]
