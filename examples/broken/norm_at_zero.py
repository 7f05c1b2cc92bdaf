"""A network that divides hidden vectors by their length; for some examples every unit is off, and that is 0/0."""

import torch
from torch import nn
from torch.nn import functional as F


class Directions(nn.Module):
    """Hidden units as directions: their lengths divided out."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(20, 16), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [examples, 5] of inputs [examples, 20]."""
        h = F.relu(self.hidden(x) - 0.5)
        return self.head(h / h.norm(dim=1, keepdim=True))


def setup() -> dict:
    """Five labels an example, each on where a random direction says so."""
    torch.manual_seed(0)
    model, directions = Directions(), torch.randn(20, 5)
    inputs = [torch.randn(128, 20) for _ in range(12)]
    return {
        "model": model,
        "data": [(x, (x @ directions > 1).float()) for x in inputs],
        "loss_fn": nn.BCEWithLogitsLoss(),
        "optimizer": torch.optim.Adam(model.parameters(), 1e-3),
    }
