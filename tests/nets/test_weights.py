"""Weights from files and run folders: what fits is loaded, what does not is named."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from provenet import nets
from provenet.core.errors import RecipeError, StorageError
from provenet.nets.weights import fill_


@pytest.fixture
def net():
    return nets.resnet(10, depth=8, width=4)


def save(net, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, path)
    return path


def randomized(net):
    """The same net with every tensor drawn anew, so that nothing agrees by chance."""
    for tensor in net.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape) if tensor.is_floating_point() else torch.tensor(7))
    return net


def test_a_round_trip_restores_every_tensor(net, tmp_path):
    other = randomized(nets.resnet(10, depth=8, width=4))
    report = nets.load_weights(net, save(other, tmp_path / "w.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))
    assert report.loaded == list(net.state_dict())
    assert not report.missing and not report.unexpected and not report.mismatched and not report.note


def test_a_head_for_other_classes_stays_fresh_and_is_reported(net, tmp_path):
    before = net.head.weight.clone()
    file = save(randomized(nets.resnet(3, depth=8, width=4)), tmp_path / "w.safetensors")
    report = nets.load_weights(net, file)
    assert torch.equal(net.head.weight, before)
    assert report.mismatched == [("head.weight", (3, 16), (10, 16)), ("head.bias", (3,), (10,))]
    assert "head.weight" in str(report)


def test_three_channels_summed_to_one_answer_grey_pictures_alike(tmp_path):
    color = randomized(nets.resnet(5, depth=8, width=4)).eval()
    grey = nets.resnet(5, in_channels=1, depth=8, width=4).eval()
    for tensor in color.state_dict().values():
        tensor.abs_()
    report = nets.load_weights(grey, save(color, tmp_path / "w.safetensors"))
    images = torch.rand(2, 1, 9, 9)
    torch.testing.assert_close(grey(images), color(images.expand(2, 3, 9, 9)))
    assert "summed" in report.note and not report.mismatched


def test_one_channel_repeated_for_three_answers_grey_pictures_alike(tmp_path):
    grey = randomized(nets.resnet(5, in_channels=1, depth=8, width=4)).eval()
    color = nets.resnet(5, depth=8, width=4).eval()
    for tensor in grey.state_dict().values():
        tensor.abs_()
    report = nets.load_weights(color, save(grey, tmp_path / "w.safetensors"))
    images = torch.rand(2, 1, 9, 9)
    torch.testing.assert_close(color(images.expand(2, 3, 9, 9)), grey(images))
    assert "repeated" in report.note


def test_a_classifiers_body_fits_the_encoder_of_a_segmenter(net, tmp_path):
    segmenter = nets.unet(2, encoder=nets.resnet(2, depth=8, width=4).encoder)
    report = nets.load_weights(segmenter, save(randomized(net), tmp_path / "w.safetensors"))
    assert [n for n in segmenter.state_dict() if n.startswith("encoder.")] == report.loaded
    assert torch.equal(segmenter.encoder.stem[0].weight, net.encoder.stem[0].weight)
    assert {name.split(".")[0] for name in report.missing} == {"decoder"}


@pytest.mark.parametrize(
    ("strip", "add"), [("module.", ""), ("", "encoder."), ("body.", "encoder.body."), ("a.b.", "")]
)
def test_a_common_prefix_is_found(strip, add):
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    own = nn.Module()
    target = own
    for part in add.split(".")[:-1]:
        target.add_module(part, nn.Module())
        target = target.get_submodule(part)
    for name, child in body.named_children():
        target.add_module(name, child)
    tensors = {strip + name: torch.randn(t.shape) for name, t in body.state_dict().items()}
    report = fill_(own, tensors)
    assert len(report.loaded) == len(tensors) and not report.missing and not report.unexpected
    assert torch.equal(body[0].weight, tensors[f"{strip}0.weight"])
    assert "prefix" in report.note


def test_a_timm_classifier_fits_the_encoder_made_of_it():
    classifier = nets.timm_classifier("test_convnext", 5)
    segmenter = nets.unet(2, encoder="timm:test_convnext")
    report = fill_(segmenter, classifier.state_dict())
    assert report.loaded == [name for name in segmenter.state_dict() if name.startswith("encoder.")]
    assert all(name.startswith("body.head.") for name in report.unexpected)


def test_what_is_left_over_on_either_side_is_named(net):
    tensors = {**net.state_dict(), "extra.weight": torch.zeros(3)}
    del tensors["head.bias"]
    report = fill_(net, tensors)
    assert report.missing == ["head.bias"]
    assert report.unexpected == ["extra.weight"]


def test_nothing_that_fits_is_an_error_with_names_of_both_sides(net):
    with pytest.raises(RecipeError, match=r"(?s)somewhere\.weight.*encoder\.stem"):
        fill_(net, {"somewhere.weight": torch.zeros(3, 3), "num_batches_tracked": torch.tensor(1)})


def test_run_folders_give_the_best_weights_else_the_newest(net, tmp_path):
    older = save(net, tmp_path / "checkpoints" / "step-0000009" / "weights.safetensors")
    newer = save(net, tmp_path / "checkpoints" / "step-0000123" / "weights.safetensors")
    assert nets.find_weights(tmp_path) == newer != older
    best = save(net, tmp_path / "checkpoints" / "best" / "weights.safetensors")
    assert nets.find_weights(tmp_path) == best
    best = save(net, tmp_path / "best" / "weights.safetensors")
    assert nets.find_weights(tmp_path) == best == nets.find_weights(tmp_path / "best") == nets.find_weights(best)


def test_paths_without_weights_are_refused(tmp_path):
    (tmp_path / "model.pth").write_bytes(b"")
    with pytest.raises(RecipeError, match="no weights in"):
        nets.find_weights(tmp_path)
    with pytest.raises(RecipeError, match="no such file"):
        nets.find_weights(tmp_path / "gone")
    with pytest.raises(RecipeError, match=r"save_file"):
        nets.find_weights(tmp_path / "model.pth")


@pytest.mark.parametrize("cut", [0, 4, 100, -10])
def test_a_damaged_file_is_a_storage_error_and_leaves_the_net_alone(net, tmp_path, cut):
    file = save(randomized(nets.resnet(10, depth=8, width=4)), tmp_path / "w.safetensors")
    file.write_bytes(file.read_bytes()[:cut])
    before = net.head.weight.clone()
    with pytest.raises(StorageError, match="cannot be read"):
        nets.load_weights(net, file)
    assert torch.equal(net.head.weight, before)
