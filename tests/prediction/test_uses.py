"""Gradients of parameters that are met at every step: norms against draws."""

import numpy as np
import pytest
import torch
from torch import nn

from steadygrad.measurement import measure
from steadygrad.prediction import predict

DRAWS, STEPS, APPROXIMATE = 32, 12, 0.15  # of the log: what many pairs of uses have in common is a mean over some


class Recurrent(nn.Module):
    """A recurrent layer, and a head at its last step or at the mean of all."""

    def __init__(self, cell, last):
        super().__init__()
        self.cell, self.head, self.last = cell(16, 32, batch_first=True), nn.Linear(32, 8), last

    def forward(self, x):
        states, _ = self.cell(x)
        return self.head(states[:, -1] if self.last else states.mean(1))


class ByHand(nn.Module):
    """A cell of one matrix and one bias, added one after the other."""

    def __init__(self):
        super().__init__()
        self.into, self.weight = nn.Linear(16, 32), nn.Linear(32, 32, bias=False)
        self.bias, self.head = nn.Parameter(torch.zeros(32)), nn.Linear(32, 8)

    def forward(self, x):
        state = torch.zeros(len(x), 32)
        for step in range(x.shape[1]):
            state = torch.tanh(self.into(x[:, step]) + self.weight(state) + self.bias)
        return self.head(state)


CASES = {
    **{
        f"{cell.__name__}, {'last' if last else 'mean'}": lambda cell=cell, last=last: Recurrent(cell, last)
        for cell in (nn.RNN, nn.GRU, nn.LSTM)
        for last in (True, False)
    },
    "by hand": ByHand,
}


@pytest.mark.parametrize("case", CASES)
def test_norms_of_gradients_over_all_steps_are_those_of_draws(case):
    make, rng = CASES[case], torch.Generator().manual_seed(0)
    x, y = torch.randn(8, STEPS, 16, generator=rng), torch.randint(8, (8,), generator=rng)
    predicted = predict(make, x, targets=y, loss_fn=nn.CrossEntropyLoss()).parameter_grad_norms
    drawn = []
    for seed in range(DRAWS):
        torch.manual_seed(seed)
        drawn.append(measure(make(), x, y, nn.CrossEntropyLoss()).parameter_grad_norms)
    for name, norm in predicted.items():
        squares = np.array([norms[name] ** 2 for norms in drawn])
        error = 5 * squares.std() / squares.mean() / np.sqrt(DRAWS) / 2
        assert abs(np.log(norm / np.sqrt(squares.mean()))) < error + APPROXIMATE, name
