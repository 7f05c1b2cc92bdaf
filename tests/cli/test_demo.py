"""What the demo shows, in a short form: the mended network learns within ten epochs, the other one does not at all."""

from pathlib import Path

import pytest
import torch


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "examples"))
    import deep_mlp

    return deep_mlp


def test_the_mended_network_learns_and_the_default_one_guesses(example):
    guess = max(torch.bincount(torch.stack([classes for _, classes in example.split()[1]]))) / 360
    # 5 standard errors of a guess that is right one time in ten, on 360 examples.
    assert example.train(example.setup(), epochs=2) <= guess + 5 * (0.1 * 0.9 / 360) ** 0.5
    assert example.train(example.mended(), epochs=10) > 0.8


def test_both_are_trained_by_the_same_constant_rate(example):
    default, mended = (made["optimizer"].defaults for made in (example.setup(), example.mended()))
    assert default == mended
    assert isinstance(example.setup()["optimizer"], torch.optim.SGD)
