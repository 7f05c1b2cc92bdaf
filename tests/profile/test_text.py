"""A printed profile says what the profile holds: every row's numbers, what is not known, and nothing else."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import steadygrad as sg
from steadygrad.profile import LayerSignal, Profile

MODEL = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def table(profile, **options):
    """The rows of the printed table, as cells."""
    lines = profile.text(**options).splitlines()
    rule = next(i for i, line in enumerate(lines) if line.startswith("──"))
    rows = [line.split() for line in lines[rule + 1 :] if not line.startswith(("Not known", "≈ approximate"))]
    return lines[rule - 1].split(), rows


@pytest.mark.parametrize("profile", [sg.predict(MODEL, (32, 8)), sg.measure(MODEL, torch.randn(32, 8))])
def test_every_row_stands_in_order_with_its_second_moment(profile):
    _, rows = table(profile)
    assert [row[0] for row in rows] == [layer.path for layer in profile]
    assert [float(row[2]) for row in rows] == pytest.approx([layer.q for layer in profile], rel=0.005)
    assert str(profile) == profile.text()
    assert str(profile).startswith(profile.source.capitalize())


def test_a_column_without_a_number_is_left_out_and_a_lone_unknown_is_a_question_mark():
    rows = (LayerSignal(path="a", kind="Linear", q=2.0), LayerSignal(path="b", kind="Linear"))
    titles, cells = table(Profile(layers=rows, source="predicted"))
    assert titles == ["layer", "kind", "q"]
    assert cells == [["a", "Linear", "2", "unknown"], ["b", "Linear", "?", "unknown"]]


def test_a_row_that_is_approximate_has_a_sign_which_is_explained_below():
    rows = (LayerSignal(path="a", kind="Linear", q=2.0, mark="exact"),)
    exact, both = (
        Profile(layers=layers, source="predicted") for layers in (rows, (*rows, replace(rows[0], mark="approximate")))
    )
    assert "≈" not in str(exact)
    assert [cells[-1] for cells in table(both)[1]] == ["2", "≈"]
    assert str(both).endswith("\n≈ approximate")


def test_the_middle_of_a_long_profile_is_left_out_unless_it_is_asked_for():
    rows = tuple(LayerSignal(path=str(i), kind="Linear", q=float(i + 1), mark="exact") for i in range(40))
    profile = Profile(layers=rows, source="predicted")
    assert [row[0] for row in table(profile)[1]] == [*map(str, range(5)), "⋮", *map(str, range(35, 40))]
    assert [row[0] for row in table(profile, every_row=True)[1]] == [*map(str, range(40))]


def test_what_is_not_known_is_said():
    profile = Profile(layers=(), source="predicted", unknown=("aten.sort",), loss=math.nan)
    assert str(profile) == "Predicted profile: 0 rows\nNot known: aten.sort"
