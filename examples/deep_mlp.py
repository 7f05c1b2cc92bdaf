"""A deep ReLU network on handwritten digits that does not learn, and the same network mended.

steadygrad check examples/deep_mlp.py            finds what is wrong, and says which code mends it
steadygrad check examples/deep_mlp.py:mended     the same with that code: clean
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

DEPTH, WIDTH, BATCH = 30, 128, 32
LEARNING_RATE, MOMENTUM = 0.001, 0.9


def digits() -> TensorDataset:
    """1797 images of 8 x 8 pixels, with one mean and one deviation for all of them, and their classes."""
    images, classes = load_digits(return_X_y=True)
    pixels = torch.tensor(images, dtype=torch.float32)
    return TensorDataset((pixels - pixels.mean()) / pixels.std(), torch.tensor(classes))


def split() -> tuple[torch.utils.data.Subset, torch.utils.data.Subset]:
    """1437 examples to learn from, 360 held out."""
    training, held_out = random_split(digits(), [0.8, 0.2], generator=torch.Generator().manual_seed(0))
    return training, held_out


def mlp() -> nn.Sequential:
    """30 hidden layers of width 128 as PyTorch initializes them."""
    layers: list[nn.Module] = [nn.Linear(64, WIDTH), nn.ReLU()]
    for _ in range(DEPTH - 1):
        layers += [nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def setup(seed: int = 0) -> dict:
    """The network that does not learn: each layer loses five sixths of the signal."""
    torch.manual_seed(seed)
    model = mlp()
    order = torch.Generator().manual_seed(seed)
    return {
        "model": model,
        "data": DataLoader(split()[0], batch_size=BATCH, shuffle=True, generator=order),
        "loss_fn": nn.CrossEntropyLoss(),
        "optimizer": torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM),
    }


def mended(seed: int = 0) -> dict:
    """The same network, with the code that the finding gives."""
    made = setup(seed)
    model = made["model"]
    for path in map(str, range(0, 59, 2)):
        layer = model.get_submodule(path)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return made


def train(made: dict, *, epochs: int = 25) -> float:
    """Train as the setup says, and return the accuracy on the examples held out."""
    model, loss_fn, optimizer = made["model"], made["loss_fn"], made["optimizer"]
    for _ in range(epochs):
        for inputs, classes in made["data"]:
            optimizer.zero_grad()
            loss_fn(model(inputs), classes).backward()
            optimizer.step()
    inputs, classes = zip(*split()[1], strict=True)
    with torch.no_grad():
        predicted = model(torch.stack(inputs)).argmax(1)
    return (predicted == torch.stack(classes)).float().mean().item()
