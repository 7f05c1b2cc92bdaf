"""A recurrent network that was built twice: the optimizer holds the parameters of the first."""

import torch
from torch import nn


class Forecast(nn.Module):
    """Two GRU layers, and the last step's state into one number."""

    def __init__(self) -> None:
        super().__init__()
        self.cells, self.head = nn.GRU(3, 32, 2, batch_first=True), nn.Linear(32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One number an example, [examples, 1], of sequences [examples, steps, 3]."""
        return self.head(self.cells(x)[0][:, -1])


def setup() -> dict:
    """The model is made anew, say to start again, and the optimizer is not."""
    torch.manual_seed(0)
    model = Forecast()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    model = Forecast()
    inputs = [torch.randn(64, 10, 3) for _ in range(12)]
    return {
        "model": model,
        "data": [(x, x[:, -3:, 0].sum(1, keepdim=True) / 3**0.5) for x in inputs],
        "loss_fn": nn.SmoothL1Loss(),
        "optimizer": optimizer,
    }
