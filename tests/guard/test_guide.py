"""The loop of the guide runs as it stands there, and what it prints is one plain line an event."""

import re
from pathlib import Path

import torch
from torch import nn

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "guard.md").read_text()


def test_the_loop_of_the_guide_runs_and_prints_a_line_an_event(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(32, 8), torch.randint(4, (32,))
    names = {
        "model": model,
        "optimizer": optimizer,
        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 10),
        "batches": [(x, y), (x * float("nan"), y), (100 * x, y)],
        "loss_fn": nn.CrossEntropyLoss(),
    }
    exec(code, names)
    skipped, clipped = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"warn GRD002 skipped-step in 2: The step was skipped at step 2: .* not finite, .*", skipped)
    assert re.fullmatch(r"info GRD001 clipped-gradient in \d: .* its norm of \S+ was cut to 1; most of it .*", clipped)
