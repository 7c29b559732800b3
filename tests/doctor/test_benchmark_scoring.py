"""How a tool is scored on the doctor's benchmark, and the simple rules of older tools beside it."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest
import torch
from benchmarks.doctor.cases import Case, Given, Sound
from benchmarks.doctor.figures import share, table, totals
from benchmarks.doctor.older_rules import older_rules
from benchmarks.doctor.rows import Row, doctor, line, row_of_fault, row_of_silence, wrong
from benchmarks.doctor.run import count, write
from benchmarks.doctor.vocabulary import CAUSES, DATA, FAMILIES, MODEL, SYMPTOMS, family
from torch import nn
from torch.optim import SGD


def case_of(name, causes, allowed=(), harm="training"):
    wanted = tuple(frozenset(one) for one in causes)
    return Case(
        name, "ours", lambda seed: "faulty", wanted, frozenset(allowed) | SYMPTOMS, lambda seed: "repaired", harm
    )


def tool(faulty, repaired=()):
    return lambda given: list(faulty if given == "faulty" else repaired)


def test_a_fault_is_named_among_three_loud_findings():
    case = case_of("a", [["lr-too-high"], ["dead-relu", "init-too-large"]])
    said = [("input-layout", True), ("lr-too-high", True), ("lr-too-low", False), ("dead-relu", True)]
    found = row_of_fault(case, tool(said), 0)
    assert found.found == ["input-layout", "lr-too-high", "dead-relu"]
    assert (found.named, found.first, found.false, found.quiet) == (True, False, ["input-layout"], ["lr-too-low"])
    crowded = [("loss-not-finite", True), *said]
    assert not row_of_fault(case, tool(crowded), 0).named


def test_an_info_names_a_static_fault_only():
    said = [("bias-before-bn", False)]
    assert row_of_fault(case_of("a", [["bias-before-bn"]], harm="static"), tool(said), 0).named
    assert not row_of_fault(case_of("a", [["bias-before-bn"]]), tool(said), 0).named


def test_symptoms_and_allowed_ids_are_not_false_of_a_faulty_net_but_of_a_repaired_one():
    case = case_of("a", [["lr-too-high"]], allowed=["dead-relu"])
    said = [("lr-too-high", True), ("dead-relu", True), ("exploding-gradients", True)]
    assert row_of_fault(case, tool(said), 0).false == []
    assert row_of_silence(case, tool(said, said[2:]), 0).false == ["exploding-gradients"]


def row(name, kind, found=(), named=False, first=False, false=(), seconds=1.0):
    group = "data" if kind == "fault" else ""
    return Row(name, kind, group, [], list(found), [], named, first, list(false), seconds)


TABLE = [
    row("a", "fault", ["lr-too-high", "input-layout"], True, True, ["input-layout"], 1.0),
    row("b", "fault", ["loss-not-finite", "dead-relu"], True, False, [], 2.0),
    row("c", "fault", seconds=3.0),
    row("a", "repaired", ["dead-relu"], False, False, ["dead-relu"], 4.0),
    row("b", "repaired", seconds=5.0),
    row("d", "sound", seconds=6.0),
]


def test_totals_are_those_of_a_small_table():
    found = totals(TABLE)
    shares = {name: (one["count"], one["of"]) for name, one in found.items() if "of" in one}
    assert (shares["recall"], shares["first"], shares["recall_of_data"]) == ((2, 3), (1, 3), (2, 3))
    assert shares["recall_of_mode"] == (0, 0)
    assert found["recall_of_mode"]["share"] is None
    assert shares["precision"] == (3, 4)
    assert shares["precision_of_causes"] == (2, 3)  # of lr, layout, dead; a symptom is no cause
    assert shares["precision_over_all"] == (3, 5)
    assert shares["more_than_three_loud"] == (0, 3)
    assert [shares[f"false_alarms{of}"] for of in ("", "_of_repaired", "_of_sound")] == [(1, 3), (1, 2), (0, 1)]
    assert found["seconds"] == {"median": 3.5, "p90": 6.0, "most": 6.0}


def test_intervals_are_those_of_a_printed_table():
    """81 of 263: Newcombe 1998, Two-sided confidence intervals for the single proportion, table I."""
    found = share([True] * 81 + [False] * 182)
    assert (found["share"], found["low"], found["high"]) == (0.308, 0.2553, 0.3662)


def test_what_is_wrong_is_listed():
    assert wrong(TABLE) == [
        "missed: c (nothing loud)",
        "false alarm: a (fault): input-layout",
        "false alarm: a (repaired): dead-relu",
    ]
    assert line(TABLE[0]) == "| a |  | lr-too-high, input-layout | first | input-layout | 1.0 |"


def test_figures_stand_side_by_side():
    lines = table({"ours": totals(TABLE), "other": totals(TABLE[2:3])}).splitlines()
    assert lines[0] == "| | ours | other |"
    assert lines[2] == "| recall | 0.67 [0.21, 0.94] (2 of 3) | 0.00 [0.00, 0.79] (0 of 1) |"
    assert lines[-1] == "| seconds | median 3.5, p90 6.0, most 6.0 | median 3.0, p90 3.0, most 3.0 |"


def test_results_are_written_with_what_they_hang_on(tmp_path, capsys):
    write("seen", {"provenet": TABLE, "older rules": TABLE[2:3]}, tmp_path / "new" / "found.json")
    found = json.loads((tmp_path / "new" / "found.json").read_text())
    assert found["versions"]["torch"] == version("torch")
    assert {"machine", "git", "python", "part", "pictures", "threads"} < set(found)
    assert found["tools"]["provenet"]["totals"] == totals(TABLE)
    assert [one["name"] for one in found["tools"]["provenet"]["rows"]] == list("abcabd")
    assert "missed: c" in capsys.readouterr().out


def test_a_tool_that_raises_names_nothing_and_is_a_false_alarm():
    def broken(given):
        raise ValueError

    found = row_of_fault(case_of("a", [["lr-too-high"]]), broken, 0)
    assert (found.named, found.false) == (False, ["raised ValueError"])


def test_cases_are_counted_by_the_family_of_most_causes(capsys):
    assert family(frozenset({"lr-too-high"})) == "optimization"
    assert family(frozenset({"dead-relu", "symmetric-init", "input-layout"})) == "model"
    assert sorted(cause for _, causes in FAMILIES for cause in causes) == sorted(CAUSES)
    assert not DATA & MODEL
    faults = [case_of("a", [["lr-too-high"]]), case_of("b", [["input-layout"]], harm="static")]
    count("seen", [*faults, Sound("c", "ours", lambda seed: classifier(*plain()))])
    assert capsys.readouterr().out.splitlines()[-1] == "| seen | 1 | 0 | 1 | 0 | 2 | 1 | 1 |"


def test_the_doctor_is_given_everything_but_the_test(monkeypatch):
    import provenet

    class Finding:
        id, severity = "lr-too-low", "warning"

    class Result:
        findings = (Finding(),)

    asked = {}

    def diagnose(model, batches, loss_fn, optimizer=None, **more):
        asked.update(more, model=model, batches=batches, loss_fn=loss_fn, optimizer=optimizer)
        return Result()

    monkeypatch.setattr(provenet, "diagnose", diagnose, raising=False)
    given = classifier(*plain())
    assert doctor(given) == [("lr-too-low", True)]
    fields = {name: value for name, value in vars(given).items() if name not in ("test", "score")}
    assert all(asked[name] is value for name, value in fields.items())
    assert set(asked) == set(fields)


def classifier(*layers, inputs=None, lr=1e-3, loss=None):
    x = torch.linspace(-1, 1, 64).view(16, 4) if inputs is None else inputs
    y = (x.sum(1) > 0).long()
    model = nn.Sequential(*layers)
    return Given(model, [(x, y)], loss or nn.CrossEntropyLoss(), SGD(model.parameters(), lr=lr))


def plain(scale=1.0):
    torch.manual_seed(0)
    layers = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)
    with torch.no_grad():
        layers[2].weight *= scale
    return layers


def all_dead():
    layers = plain()
    nn.init.constant_(layers[0].bias, -10.0)
    return layers


def test_older_rules_are_silent_on_a_plain_net():
    assert older_rules(classifier(*plain())) == []


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: classifier(*plain(), inputs=torch.randn(16, 4) * 50), "input-unnormalized"),
        (lambda: classifier(*plain(), lr=0.02), "lr-too-high"),
        (lambda: classifier(*plain(), lr=1e-8), "lr-too-low"),
        (lambda: classifier(*plain(), nn.Dropout(0.6)), "dropout-too-high"),
        (lambda: classifier(*plain(100.0)), "init-too-large"),
        (lambda: classifier(*plain(), nn.Softmax(1)), "softmax-before-ce"),
        (lambda: classifier(*plain(), loss=nn.NLLLoss()), "nll-without-logsoftmax"),
        (lambda: classifier(*all_dead()), "dead-relu"),
        (lambda: classifier(*all_dead()), "vanishing-gradients"),
        (lambda: classifier(*plain(), loss=lambda x, y: x.sum() * 1e6), "exploding-gradients"),
        (lambda: classifier(*plain(), loss=lambda x, y: x.sum() / 0), "loss-not-finite"),
        (lambda: classifier(*plain(), inputs=torch.cat([torch.ones(15, 4), -torch.ones(1, 4)])), "class-imbalance"),
        (lambda: classifier(*plain(), inputs=torch.ones(16, 5)), "forward-fails"),
    ],
)
def test_each_older_rule_fires(make, name):
    assert name in older_rules(make())
