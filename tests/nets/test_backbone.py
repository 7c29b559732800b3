"""timm's networks behind our face; none of these tests needs the network."""

import socket

import pytest
import torch

from provenet import nets
from provenet.core.errors import RecipeError
from provenet.nets import backbone
from provenet.techniques.init import He

SMALL = "test_resnet"


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No hub and an empty cache."""

    def refuse(*_, **__):
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))


@pytest.mark.parametrize("name", [SMALL, "timm:test_convnext", "test_vit", "test_efficientnet"])
@pytest.mark.parametrize("size", [(1, 1), (33, 70)])
def test_classifiers_take_any_size(name, size):
    net = nets.timm_classifier(name, 5, in_channels=1).eval()
    with torch.no_grad():
        assert net(torch.rand(1, 1, *size)).shape == (1, 5)


@pytest.mark.parametrize("name", [SMALL, "test_convnext", "test_vit", "test_efficientnet"])
def test_groups_name_every_parameter_once_with_the_head_last(name):
    net = nets.timm_classifier(name, 5)
    groups = net.groups()
    names = [name for _, group in groups for name in group]
    assert sorted(names) == sorted(name for name, _ in net.named_parameters())
    assert len(names) == len(set(names))
    assert groups[-1][0] == "head"
    assert {id(p) for p in net.head.parameters()} == {id(net.get_parameter(name)) for name in groups[-1][1]}


def test_random_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    a, b = nets.timm_classifier(SMALL, 5), nets.timm_classifier(SMALL, 5)
    torch.random.set_rng_state(state)
    nets.initialize_(a, He(), seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(a.head.weight, b.head.weight)
    nets.initialize_(b, He(), seed=3)
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_pretrained_weights_survive_initialisation_and_the_head_is_drawn():
    net = nets.timm_classifier(SMALL, 5)
    net.pretrained = True
    body, head = net.body.conv1[0].weight.clone(), net.head.weight.clone()
    nets.initialize_(net, He(), seed=3)
    assert torch.equal(net.body.conv1[0].weight, body)
    assert not torch.equal(net.head.weight, head)


def test_an_encoder_of_timm_under_a_unet():
    net = nets.unet(3, in_channels=1, encoder=f"timm:{SMALL}").eval()
    assert net.encoder.reductions == [2, 4, 8, 16, 32][: len(net.encoder.reductions)]
    with torch.no_grad():
        assert net(torch.rand(1, 1, 37, 41)).shape == (1, 3, 37, 41)
    names = [name for _, group in net.groups() for name in group]
    assert sorted(names) == sorted(name for name, _ in net.named_parameters())


def test_reductions_that_skip_a_size_are_doubled_twice():
    net = nets.unet(2, encoder="timm:test_convnext").eval()
    assert net.encoder.reductions[0] == 4
    with torch.no_grad():
        assert net(torch.rand(1, 3, 20, 33)).shape == (1, 2, 20, 33)
        assert nets.fcn(2, encoder=net.encoder).eval()(torch.rand(1, 3, 20, 33)).shape == (1, 2, 20, 33)


def test_a_network_without_a_pyramid_is_refused_as_encoder():
    with pytest.raises(RecipeError, match="no pyramid"):
        nets.unet(2, encoder="timm:test_vit")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("resnet118", "did you mean 'resnet18'"), ("zzz", "timm.list_models"), ("resnet18.zzz", "a1_in1k")],
)
def test_unknown_names_are_refused_with_what_is_known(name, hint):
    with pytest.raises(RecipeError, match=hint):
        nets.timm_classifier(name, 2)


def test_weights_that_do_not_exist_are_refused():
    import timm

    name = next(name for name in timm.list_models("resnet*") if not timm.is_model_pretrained(name))
    with pytest.raises(RecipeError, match="no pretrained weights"):
        nets.timm_classifier(name, 2, pretrained=True)


def test_without_the_hub_the_remedy_is_named_at_once(offline):
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    with pytest.raises(RecipeError, match=r"does not answer \(no network.*pretrained=PATH") as caught:
        nets.timm_classifier(SMALL, 2, pretrained=True)
    assert caught.value.__cause__ is not None
    assert before == constants.HF_HUB_OFFLINE


def test_behind_a_proxy_the_hub_is_assumed_to_answer(offline, monkeypatch):
    assert "hub.example does not answer" in backbone._silence("https://hub.example")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert not backbone._silence("https://hub.example")
