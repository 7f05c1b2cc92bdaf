"""A network of convolutions whose body runs under a forgotten `no_grad`: only the head learns."""

import torch
from torch import nn


class Classifier(nn.Module):
    """Convolutions, and a head on their mean over the image."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [examples, 4] of images [examples, 1, 12, 12]."""
        with torch.no_grad():
            features = self.body(x)
        return self.head(features)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Images with one bright pair of rows, and which one."""
    classes = torch.randint(0, 4, (64,))
    images = 0.3 * torch.rand(64, 1, 12, 12)
    for image, place in zip(images, classes.tolist(), strict=True):
        image[0, 3 * place : 3 * place + 2] += 0.7
    return images, classes


def setup() -> dict:
    """Everything as it should be, but for the line in `forward`."""
    torch.manual_seed(0)
    model = Classifier()
    return {
        "model": model,
        "data": [batch() for _ in range(12)],
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.SGD(model.parameters(), 0.05, momentum=0.9),
    }
