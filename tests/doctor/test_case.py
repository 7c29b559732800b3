"""What is given to the doctor, and what it says where that cannot be used."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import provenet as pn
from provenet.core.errors import RecipeError
from provenet.doctor.case import forward, loss_of, read_case, unwrapped
from provenet.doctor.tree import main_tensor, map_tensors, num_samples, take

NET = nn.Linear(3, 2)
PAIR = (torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))
LOSS = nn.CrossEntropyLoss()


@pytest.mark.parametrize(
    ("model", "batches", "loss", "optimizer", "says"),
    [
        (nn.Linear, [PAIR], LOSS, None, "give Linear(...)"),
        (lambda x: x, [PAIR], LOSS, None, "model is no net"),
        (nn.LazyLinear(3), [PAIR], LOSS, None, "lazy weight, bias"),
        (NET, [], LOSS, None, "batches is empty"),
        (NET, PAIR, LOSS, None, "batches=[(inputs, targets)]"),
        (NET, torch.utils.data.DataLoader([1, 2]), LOSS, None, "itertools.islice"),
        (NET, iter([PAIR]), LOSS, None, "batches is no list"),
        (NET, [PAIR, {"image": 1}], LOSS, None, "batches[1] is no pair; got dict of 1"),
        (NET, [PAIR[0]], LOSS, None, "batches[0] is no pair"),
        (NET, [(PAIR[0].numpy(), PAIR[1])], LOSS, None, "the inputs of batches[0] hold no tensor"),
        (NET, [(torch.zeros(0, 3), torch.zeros(0))], LOSS, None, "holds no sample"),
        (NET, [PAIR], nn.CrossEntropyLoss, None, "give CrossEntropyLoss()"),
        (NET, [PAIR], "cross_entropy", None, "loss_fn cannot be called"),
        (NET, [PAIR], LOSS, NET.parameters(), "optimizer is no optimizer"),
    ],
)
def test_what_cannot_be_used_is_said_in_four_parts(model, batches, loss, optimizer, says):
    with pytest.raises(RecipeError) as caught:
        pn.diagnose(model, batches, loss, optimizer)
    assert says in str(caught.value)
    assert all(fault.what and fault.got and fault.allowed and fault.remedy for fault in caught.value.faults)


def test_all_faults_come_at_once():
    with pytest.raises(RecipeError) as caught:
        pn.diagnose(nn.Linear, [], nn.MSELoss, val_batches=[PAIR[0]])
    assert len(caught.value.faults) == 4


def test_wrappers_are_taken_off():
    assert unwrapped(nn.DataParallel(NET)) is NET
    assert read_case(nn.DataParallel(NET), [PAIR], LOSS, None).model is NET


def test_inputs_may_be_several():
    class Two(nn.Module):
        def forward(self, a, b):
            return a + 2 * b

    one, two = torch.ones(2), torch.full((2,), 3.0)
    assert torch.equal(forward(Two(), (one, two)), torch.full((2,), 7.0))
    assert torch.equal(forward(Two(), {"b": one, "a": two}), torch.full((2,), 5.0))


def test_a_loss_gets_the_whole_output_or_its_main_part():
    outputs = {"aux": torch.zeros(4, 2), "out": torch.randn(4, 2)}
    assert loss_of(LOSS, outputs, PAIR[1]) == LOSS(outputs["out"], PAIR[1])
    assert loss_of(lambda out, y: LOSS(out["aux"], y), outputs, PAIR[1]) == LOSS(outputs["aux"], PAIR[1])
    with pytest.raises(TypeError):
        loss_of(LOSS, {}, PAIR[1])


class TestTrees:
    def test_changes_keep_the_nest(self):
        nest = {"a": (torch.ones(2), [torch.zeros(1)]), "b": "text"}
        changed = map_tensors(lambda tensor: tensor + 1, nest)
        assert changed["b"] == "text" and isinstance(changed["a"], tuple) and changed["a"][1][0].item() == 1

    def test_rows_are_taken_of_what_has_rows(self):
        taken = take((torch.arange(4), torch.tensor(7.0), torch.arange(3)), slice(2))
        assert [part.tolist() for part in taken] == [[0, 1], 7.0, [0, 1, 2]]

    def test_the_main_tensor_is_the_first_that_holds_numbers(self):
        assert main_tensor((torch.tensor([1]), torch.tensor([0.5]))).item() == 0.5
        assert main_tensor({}) is None
        assert num_samples({"x": torch.zeros(5, 2)}) == 5
