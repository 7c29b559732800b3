"""Faults of the data: inputs that were prepared wrongly, and batches that were put together wrongly."""

# N batch, C channels, H W pixels, K classes

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from benchmarks.doctor.cases import Given, batched, fault
from benchmarks.doctor.fresh.cls_makers import Samples, arrows, fruits, given, series, table
from benchmarks.doctor.nets import ConvNet, PlainNet, ResNet, adam, classify, conv_bn_relu, mlp, sgd
from benchmarks.doctor.pictures import Pictures, digits
from benchmarks.doctor.scores import balanced_accuracy
from torch import Tensor, nn


def _changed(pictures: Pictures, change: Callable[[Tensor], Tensor]) -> Pictures:
    """Return pictures whose inputs, those of the test too, went through a function."""
    return Pictures(change(pictures.inputs), pictures.targets, (change(pictures.test[0]), pictures.test[1]))


@fault("facebookresearch/InterHand2.6M issue 110", {"input-tiny-scale", "wrong-normalization-stats"}, updates=120)
def divided_after_to_tensor(seed: int, faulty: bool) -> Given:
    """`ToTensor` has brought the values into 0..1, the data set divides by 255 once more."""
    pictures = _changed(digits(seed), lambda images: images / 255 if faulty else images)
    model = PlainNet(1, 10, 16)
    return classify(model, pictures, optimizer=sgd(model, 0.03))


@fault("choyingw/SynergyNet issue 19", {"wrong-normalization-stats", "input-tiny-scale"}, updates=120)
def byte_stats_for_unit_values(seed: int, faulty: bool) -> Given:
    """`Normalize(127.5, 128)`, meant for bytes, behind `ToTensor`: all values lie between -0.996 and -0.988."""
    mean, std = (127.5, 128.0) if faulty else (0.5, 0.5)
    pictures = _changed(digits(seed), lambda images: (images - mean) / std)
    return classify(mlp(256, 10), pictures)


@fault("zwx8981/UNIQUE issue 10; pytorch/examples issue 112", {"input-unnormalized", "wrong-normalization-stats"})
def unit_stats_for_byte_values(seed: int, faulty: bool) -> Given:
    """`from_numpy` in the place of `ToTensor`: statistics of 0..1 are applied to 0..255."""
    scale = 255 if faulty else 1
    mean, std = (torch.tensor(one)[:, None, None] for one in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    pictures = _changed(fruits(seed), lambda images: (images * scale - mean) / std)
    model = PlainNet(3, 4, 20)
    return classify(model, pictures, optimizer=sgd(model, 0.01))


@fault("common pattern: `(image / 255).astype(np.uint8)` before `Image.fromarray`", {"input-constant"})
def bytes_after_scaling(seed: int, faulty: bool) -> Given:
    """Pictures in 0..1 are cast to whole numbers, which leaves zeros."""
    pictures = _changed(fruits(seed), lambda images: (0.9 * images).floor() if faulty else (images - 0.45) / 0.25)
    return classify(ConvNet(3, 4), pictures)


@fault("yihong-97/Source-free-IAPC pull 6: `view` of N (H W) C to N C H W", "input-layout", updates=100)
def viewed_as_channels_first(seed: int, faulty: bool) -> Given:
    """H W C pixels are viewed as C H W, not permuted."""

    def color(images: Tensor) -> Tensor:
        inks = 0.3 + 0.7 * torch.rand(len(images), 3, 1, 1)
        found = 3 * (images * inks - 0.2)
        return found.permute(0, 2, 3, 1).reshape(found.shape) if faulty else found

    return classify(PlainNet(3, 10, 16), _changed(digits(seed, num=768), color))


@fault("fastai/fastai issue 889; deeplearning4j/deeplearning4j issue 1646", "input-nonfinite", updates=150)
def constant_column_standardized(seed: int, faulty: bool) -> Given:
    """A column with one value only is divided by its deviation of zero."""
    data = table(seed)
    rows = torch.cat([data.inputs, data.test[0]])
    rows = torch.cat([rows * 3 + 20, torch.full((len(rows), 1), 20.0)], 1)
    mean, std = rows.mean(0), rows.std(0)
    rows = (rows - mean) / (std if faulty else std.clamp(min=1e-6))
    num = len(data.inputs)
    model = mlp(9, 4)
    return given(model, Samples(rows[:num], data.targets, (rows[num:], data.test[1])), nn.CrossEntropyLoss())


@fault("common pattern: a table of ages, incomes and years without a scaler", "input-unnormalized", updates=150)
def table_in_its_own_units(seed: int, faulty: bool) -> Given:
    """Columns come in years, in money and in shares: one is ten thousand times as wide as another."""
    data, model = table(seed), mlp(8, 4)
    wide, shift = torch.tensor([[12.0, 9000, 4, 0.3, 60, 1, 2000, 15], [40, 30000, 2000, 0.5, 170, 0, 5000, 80]])
    if faulty:
        rows = data.inputs * wide + shift
        data = data._replace(inputs=rows, test=(data.test[0] * wide + shift, data.test[1]))
    return given(model, data, nn.CrossEntropyLoss(), adam(model, 5e-3))


@fault("chuanyangjin/fast-DiT issue 4; tamarott/SinGAN pull 136", "labels-uninformative")
def listed_in_another_order(seed: int, faulty: bool) -> Given:
    """Files come from `os.listdir`, labels from a table in the order of names."""
    pictures = digits(seed).normalized()
    order = torch.randperm(len(pictures.inputs)) if faulty else torch.arange(len(pictures.inputs))
    model = ResNet(1, 10)
    return classify(model, replace(pictures, inputs=pictures.inputs[order]), optimizer=adam(model, 2e-3))


@fault("numpy discussion: one buffer appended to a list many times holds the last values only", "duplicate-samples")
def one_buffer_for_a_folder(seed: int, faulty: bool) -> Given:
    """All files of a folder are read into one array, and the list holds that array again and again."""
    pictures = digits(seed).normalized()
    inputs, labels = pictures.inputs, pictures.targets
    if faulty:
        last = torch.stack([inputs[labels == kind][-1] for kind in range(10)])
        inputs = last[labels]
    model = ConvNet(1, 10)
    return classify(model, replace(pictures, inputs=inputs), optimizer=adam(model, 3e-3))


@fault("Deci-AI/super-gradients issue 416; ultralytics/yolov5 issue 2582", "unshuffled-batches", updates=48)
def folder_after_folder(seed: int, faulty: bool) -> Given:
    """The loader of a folder of folders is made without `shuffle=True`: each batch shows one or two classes."""
    pictures = digits(seed, num=768).normalized()
    order = pictures.targets.argsort(stable=True) if faulty else torch.arange(len(pictures.inputs))
    model = nn.Sequential(conv_bn_relu(1, 16), conv_bn_relu(16, 32, 2), nn.Flatten(), nn.Linear(32 * 64, 10))
    ordered = Pictures(pictures.inputs[order], pictures.targets[order], pictures.test)
    return classify(model, ordered, optimizer=sgd(model, 0.01))


@fault("common pattern: a defect in one of thirty parts, plain cross-entropy", "class-imbalance", updates=100)
def rare_defect(seed: int, faulty: bool) -> Given:
    """One part of thirty is defective; the plain loss is content with calling all of them good."""
    pictures = digits(seed, num=1200, num_test=500).normalized()
    wanted = pictures.targets == 8
    keep = ~wanted | (wanted.cumsum(0) <= 36)
    inputs, labels = pictures.inputs[keep][:768], wanted.long()[keep][:768]
    share = labels.float().mean()
    loss_fn = nn.CrossEntropyLoss(None if faulty else torch.stack([0.5 / (1 - share), 0.5 / share]))
    test = (pictures.test[0], (pictures.test[1] == 8).long())
    return classify(ConvNet(1, 2), Pictures(inputs, labels, test), loss_fn, score=balanced_accuracy)


def _mirrored(images: Tensor) -> Tensor:
    turn = torch.rand(len(images), 1, 1, 1) < 0.5
    return torch.where(turn, images.flip(3), images)


@fault("open-mmlab/mmaction2 issue 590: flips and labels such as push left", "augmentation-changes-label")
def mirrored_directions(seed: int, faulty: bool) -> Given:
    """Half of the pictures are mirrored, although left and right are different classes."""
    model = ConvNet(1, 4)

    def jitter(images: Tensor) -> Tensor:
        return images + 0.05 * torch.randn_like(images)

    return classify(model, arrows(seed), optimizer=adam(model, 3e-3), transform=_mirrored if faulty else jitter)


def _any_hue(images: Tensor) -> Tensor:
    shifts = torch.randint(3, (len(images),))
    return torch.stack([image.roll(int(shift), 0) for image, shift in zip(images, shifts, strict=True)])


@fault("AlexeyAB/darknet issue 2451: hue augmentation for traffic lights", "augmentation-changes-label")
def any_hue_for_ripeness(seed: int, faulty: bool) -> Given:
    """The hue tells the class, and the augmentation turns hues into one another."""
    pictures = _changed(fruits(seed), lambda images: (images - 0.45) / 0.25)
    model = ConvNet(3, 4)
    return classify(model, pictures, optimizer=adam(model, 3e-3), transform=_any_hue if faulty else _mirrored)


@fault(
    "scikit-learn-contrib/DESlib issue 126: the second split is drawn from all rows", "train-val-leakage", harm="static"
)
def second_split_from_everything(seed: int, faulty: bool) -> Given:
    """Validation pictures are drawn from all pictures, not from those that training leaves.

    It does no harm to the training, only to what is read off the validation.
    """
    pictures = digits(seed, num=900).normalized()
    rest = torch.randperm(900)[:256] if faulty else torch.arange(640, 896)
    val = batched(pictures.inputs[rest], pictures.targets[rest])
    learn = Pictures(pictures.inputs[:640], pictures.targets[:640], pictures.test)
    model = ConvNet(1, 10)
    return classify(model, learn, optimizer=adam(model, 3e-3), val_batches=val)


@fault("nyu-mll/jiant issue 925; lucidrains/parti-pytorch issue 8", "ignore-index-hides-data", updates=80)
def padding_number_is_a_class(seed: int, faulty: bool) -> Given:
    """`ignore_index=0`, taken over from code where 0 is padding; here 0 is the class rest."""
    layers = [nn.Conv1d(1, 32, 7, padding=3), nn.ReLU(), nn.Conv1d(32, 32, 7, padding=3), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Conv1d(32, 4, 7, padding=3))
    return given(model, series(seed), nn.CrossEntropyLoss(ignore_index=0 if faulty else -100), size=16)
