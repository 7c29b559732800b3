"""`provenet techniques`."""

import json

import pytest
import typer
from typer.testing import CliRunner

from provenet.cli.techniques import techniques
from provenet.core.errors import RecipeError

app = typer.Typer()
app.command()(techniques)


def call(*arguments):
    result = CliRunner().invoke(app, list(arguments))
    if isinstance(result.exception, RecipeError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_the_list_has_a_line_for_every_technique():
    lines = call().splitlines()
    names = [line.split()[0] for line in lines]
    entries = json.loads(call("--json"))
    assert names == [f"{entry['slot']}.{entry['name']}" for entry in entries]
    assert all(entry["summary"] in line for entry, line in zip(entries, lines, strict=True))


def test_the_techniques_that_must_exist_do():
    names = {f"{entry['slot']}.{entry['name']}" for entry in json.loads(call("--json"))}
    must = """init: zero constant normal xavier he lecun orthogonal dirac
        schedule: constant step exponential plateau cosine polynomial one_cycle linear
        inputs: raw scale01 standardize pretrained per_image
        norm: none batch group layer instance
        block: plain residual preact bottleneck
        activation: relu leaky_relu tanh sigmoid gelu silu
        augment: flip rotate crop shift scale brightness contrast color noise blur cutout mixup cutmix trivial
        dropout: none dropout spatial stochastic_depth
        transfer: none feature_extraction fine_tune
        net: fcn unet resnet plain
        skip: none concat add
        upsample: nearest bilinear transposed pixel_shuffle
        loss: cross_entropy dice focal ce_dice
        optimizer: sgd adamw muon
        average: ema"""
    for line in must.splitlines():
        slot, _, members = line.strip().partition(": ")
        assert {f"{slot}.{name}" for name in members.split()} <= names


def test_one_slot_lists_its_members_only():
    assert [line.split()[0] for line in call("average").splitlines()] == ["average.none", "average.ema"]


def test_one_technique_is_told_in_full():
    page = call("norm.group")
    (entry,) = json.loads(call("norm.group", "--json"))
    for part in ("Definition", "Default and why", "Cost", "Fails when", "Source", "norm.num_groups"):
        assert part in page
    for part in ("summary", "definition", "default_and_why", "cost", "fails_when", "source"):
        assert entry[part] in page


def test_an_unknown_name_is_a_usage_error():
    with pytest.raises(RecipeError, match="did you mean 'group'") as caught:
        call("norm.grup")
    assert caught.value.exit_code == 2


def test_a_terminal_gets_a_table(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "what it does" in call("norm")
