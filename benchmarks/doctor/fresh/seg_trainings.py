"""Faults of losses, optimizers and schedules of dense prediction."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from benchmarks.doctor.cases import Given, fault
from benchmarks.doctor.fresh.seg_nets import EncoderDecoder, FullyConv, PatchSegmenter
from benchmarks.doctor.fresh.seg_shared import binary, dice_and_bce, multiclass, overlap
from benchmarks.doctor.nets import UNet, adam, sgd
from benchmarks.doctor.pictures import cells, shapes
from torch import Tensor, nn
from torch.optim import Adam, lr_scheduler


@fault(
    "https://github.com/akirasosa/mobile-semantic-segmentation/issues/24 (dice coef instead of 1 - dice coef)",
    "loss-sign",
)
def coefficient_as_loss(seed: int, faulty: bool) -> Given:
    """The loss is Dice's coefficient itself."""

    def loss_fn(logits: Tensor, masks: Tensor) -> Tensor:
        found = overlap(logits.sigmoid(), masks)
        return found if faulty else 1 - found

    return binary(EncoderDecoder(3, 1), cells(seed, num=96, size=32).normalized(), loss_fn)


@fault("https://github.com/Project-MONAI/MONAI/issues/3306 (DiceLoss without sigmoid=True)", "dice-on-logits")
def dice_without_sigmoid(seed: int, faulty: bool) -> Given:
    """Dice's loss is computed with raw outputs."""

    def loss_fn(logits: Tensor, masks: Tensor) -> Tensor:
        return 1 - overlap(logits if faulty else logits.sigmoid(), masks)

    return binary(EncoderDecoder(3, 1), cells(seed, num=96, size=32).normalized(), loss_fn)


@fault(
    "https://github.com/jfzhang95/pytorch-deeplab-xception/issues/109 (why not frequency / total_frequency)",
    "class-weights-inverted",
    allowed=("class-imbalance",),
)
def weights_are_frequencies(seed: int, faulty: bool) -> Given:
    """The weights of the classes are their frequencies instead of the inverse."""
    pictures = shapes(seed, num=128, sides=(3, 5)).normalized()
    share = pictures.targets.flatten().bincount(minlength=5) / pictures.targets.numel()
    weight = share if faulty else 1 / (1.02 + share).log()
    return multiclass(UNet(1, 5), pictures, nn.CrossEntropyLoss(weight=weight / weight.sum()))


@fault(
    "https://github.com/wkentaro/pytorch-fcn/issues/16 (size_average=False and the learning rate)",
    "loss-reduction-sum",
    allowed=("lr-too-high",),
)
def sum_over_pixels(seed: int, faulty: bool) -> Given:
    """The loss is summed over all pixels, and the learning rate is one for means."""
    model = FullyConv(1, 5)
    loss_fn = nn.CrossEntropyLoss(reduction="sum" if faulty else "mean")
    return multiclass(model, shapes(seed, num=128).normalized(), loss_fn, sgd(model, 0.05))


@fault("https://github.com/wkentaro/pytorch-fcn/issues/16 (learning rate 1e-10)", "lr-too-low")
def rate_for_sums_with_a_mean(seed: int, faulty: bool) -> Given:
    """FCN's learning rate of 1e-10, which is for a loss summed over pixels, meets a mean."""
    model = FullyConv(1, 5)
    return multiclass(model, shapes(seed, num=128).normalized(), None, sgd(model, 1e-10 if faulty else 0.05))


@fault(
    "https://github.com/cabralpinto/modular-diffusion/issues/17 (only encoder parameters in the optimizer)",
    "optimizer-missing-params",
)
def only_the_encoder_is_optimized(seed: int, faulty: bool) -> Given:
    """The optimizer is given the parameters of the encoder alone."""
    model = EncoderDecoder(1, 5)
    optimizer = adam(model.encoder if faulty else model, 3e-3)
    return multiclass(model, shapes(seed, num=128).normalized(), None, optimizer)


@fault("https://runebook.dev/en/docs/pytorch/generated/torch.optim.lr_scheduler.lambdalr", "lr-too-low")
def schedule_returns_the_rate(seed: int, faulty: bool) -> Given:
    """LambdaLR's function returns the rate it wants instead of a factor, and is multiplied by the rate."""
    model = UNet(1, 5)
    optimizer = adam(model, 3e-3)
    wanted = [3e-3 * (1 - step / 200) ** 0.9 for step in range(200)]
    schedule = lr_scheduler.LambdaLR(optimizer, lambda step: wanted[min(step, 199)] / (1 if faulty else 3e-3))
    return multiclass(model, shapes(seed, num=128).normalized(), None, optimizer, schedule=schedule)


@fault("https://github.com/Lornatang/SRGAN-PyTorch/issues/1 (scheduler stepped at each training step)", "lr-too-low")
def epochs_counted_in_updates(seed: int, faulty: bool) -> Given:
    """A schedule whose step_size is in epochs is stepped after every update."""
    model = EncoderDecoder(3, 1)
    optimizer = sgd(model, 0.1)
    schedule = lr_scheduler.StepLR(optimizer, step_size=5 if faulty else 5 * 16, gamma=0.1)
    pictures = cells(seed, num=256, size=32).normalized()
    return binary(model, pictures, dice_and_bce, optimizer, schedule=schedule)


@fault(
    "common pattern: the U-Net paper's momentum of 0.99 with a rate for 0.9",
    ("momentum-too-high", "lr-too-high"),
    allowed=("lr-too-high", "momentum-too-high"),
)
def momentum_of_the_paper(seed: int, faulty: bool) -> Given:
    """Momentum 0.99, from a paper with single pictures and a tenth of this rate."""
    model = FullyConv(1, 5)
    optimizer = sgd(model, 0.08, momentum=0.99 if faulty else 0.9)
    return multiclass(model, shapes(seed, num=128).normalized(), None, optimizer)


@fault(
    "https://github.com/lucidrains/vit-pytorch/issues/16 (ViT with Adam at 5e-3 and above does not descend)",
    "lr-too-high",
    updates=80,
)
def rate_of_a_convnet_for_words(seed: int, faulty: bool) -> Given:
    """A transformer over patches is trained with Adam at 3e-2."""
    model = PatchSegmenter(1, 5)
    return multiclass(model, shapes(seed, num=160).normalized(), None, adam(model, 3e-2 if faulty else 2e-3))


@fault(
    "https://github.com/huggingface/pytorch-image-models/issues/270 (weight decay 0.3 from the paper)",
    "weight-decay-too-high",
    updates=80,
)
def decay_of_adamw_in_adam(seed: int, faulty: bool) -> Given:
    """A transformer's weight decay of 0.3 is meant for AdamW and given to Adam."""
    model = PatchSegmenter(1, 5)
    optimizer = Adam(model.parameters(), lr=2e-3, weight_decay=0.3 if faulty else 1e-5)
    return multiclass(model, shapes(seed, num=160).normalized(), None, optimizer)
