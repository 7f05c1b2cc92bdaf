"""A row made of all its fields at once is the row that the class makes, and is made of nothing else."""

import dataclasses

import pytest

from steadygrad.profile import LayerSignal

ROW = LayerSignal(path="fc", kind="Linear", shape=(2, 3), fan_in=4, q=1.0, mark="exact")
NAMES = [field.name for field in dataclasses.fields(LayerSignal)]


def given():
    return {name: getattr(ROW, name) for name in NAMES}


def test_it_is_the_row_that_the_class_makes():
    whole = LayerSignal.whole(given())
    assert whole == ROW
    assert dataclasses.replace(whole, q=2.0) == dataclasses.replace(ROW, q=2.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        whole.q = 2.0


@pytest.mark.parametrize("name", NAMES)
def test_no_field_may_be_missing(name):
    fields = given()
    del fields[name]
    with pytest.raises(TypeError, match=f"Missing: {name}; other: none"):
        LayerSignal.whole(fields)


def test_nor_be_written_otherwise():
    fields = given() | {"Q": 1.0}
    with pytest.raises(TypeError, match="Missing: none; other: Q"):
        LayerSignal.whole(fields)
    del fields["q"]
    with pytest.raises(TypeError, match="Missing: q; other: Q"):
        LayerSignal.whole(fields)
