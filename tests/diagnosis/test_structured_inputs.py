"""Inputs that are mappings or sequences of tensors are looked at tensor by tensor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import steadygrad as sg
from steadygrad.errors import SetupError
from steadygrad.measurement.scalar_loss import outputs_of
from steadygrad.setup import Batch, Setup, first_batch, mapped, tensors_in

FORMS = {
    "mapping": lambda a, b: {"a": a, "b": b},
    "tuple": lambda a, b: (a, b),
    "list": lambda a, b: [a, b],
}


class Unpacked(nn.Module):
    """Takes its tensors as arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 16), nn.Linear(4, 16), nn.Linear(16, 3)

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> Any:
        return self.head(torch.relu(self.a(a) + self.b(b)))


class Whole(Unpacked):
    """Takes them in one."""

    def forward(self, batch: Any) -> Any:
        a, b = batch.values() if isinstance(batch, dict) else batch
        return super().forward(a, b)


def setup_of(kind: type[nn.Module], form: str, change: Any = lambda b: b, **more: Any) -> dict[str, Any]:
    """Eight batches of a problem that the model can learn."""
    torch.manual_seed(0)
    model = kind()
    drawn = [(torch.randn(32, 4), torch.randn(32, 4)) for _ in range(8)]
    data = [(FORMS[form](a, change(b.clone())), (a + b)[:, :3].argmax(1)) for a, b in drawn]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer, **more}


def codes(setup: dict[str, Any]) -> list[str]:
    """Those of level warn or error."""
    return [f.code for f in sg.check(setup).findings if f.level in ("warn", "error")]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [Unpacked, Whole])
def test_a_setup_that_learns_is_not_accused(kind: type[nn.Module], form: str) -> None:
    assert codes(setup_of(kind, form)) == []


@pytest.mark.parametrize("form", FORMS)
def test_each_tensor_is_scanned(form: str) -> None:
    def spoilt(b: torch.Tensor) -> torch.Tensor:
        b[3, 1] = torch.nan
        return b

    found = sg.check(setup_of(Whole, form, spoilt)).findings[0]
    assert found.code == "DAT003"
    assert found.message.startswith(
        "8 entries of the inputs['b']" if form == "mapping" else "8 entries of the inputs[1]"
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [Unpacked, Whole])
def test_the_scale_of_any_tensor_counts(kind: type[nn.Module], form: str) -> None:
    assert codes(setup_of(kind, form, lambda b: b * 1e4))[:1] == ["DAT001"]


def test_a_model_is_called_as_its_forward_takes_it() -> None:
    a, b = torch.randn(2, 4), torch.randn(2, 4)
    for form in FORMS.values():
        model = Whole()
        assert torch.equal(outputs_of(model, form(a, b)), Unpacked.forward(model, a, b))


def test_inputs_without_a_tensor_are_refused() -> None:
    setup = Setup(model=nn.Linear(1, 1), data=[({"a": 1}, torch.ones(1))])
    with pytest.raises(SetupError, match=r"must be a torch\.Tensor, or a mapping or sequence of them, got a dict with"):
        first_batch(setup)


def test_tensors_are_found_and_replaced_in_their_places() -> None:
    found = {"x": torch.ones(3), "more": [None, (torch.zeros(3), "name")]}
    assert list(tensors_in(found)) == ["inputs['x']", "inputs['more'][1][0]"]
    doubled = mapped(lambda x: 2 * x + 1, found)
    assert [x.tolist() for x in tensors_in(doubled).values()] == [[3.0] * 3, [1.0] * 3]
    assert doubled["more"][1][1] == "name"
    assert Batch(inputs=found).size == 3


def tokens(labels: Any = lambda y: y, **more: Any) -> dict[str, Any]:
    """A language model of one step back; its data give the labels of all positions in one row."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20, 32), nn.Linear(32, 32), nn.GELU(), nn.Linear(32, 20), nn.Flatten(0, 1))
    drawn = [torch.randint(20, (16, 12)) for _ in range(8)]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    data = [(x, labels((3 * x + 1) % 20).flatten()) for x in drawn]
    return {"model": model, "data": data, "loss_fn": nn.CrossEntropyLoss(), "optimizer": optimizer} | more


def test_targets_of_all_positions_may_stand_in_one_row():
    report = sg.check(tokens())
    assert report.findings == ()
    assert not report.notes


def test_what_is_wrong_with_them_is_told_all_the_same():
    (found,) = sg.check(tokens(lambda y: y + 1)).findings
    assert found.code == "DAT005"
    assert found.count == 8 * 16 * 12
    assert sg.check(tokens(loss_fn=nn.CrossEntropyLoss(reduction="sum"))).findings[0].code == "LOS008"
