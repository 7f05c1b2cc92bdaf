"""What the user's code warns of is shown once, however often a check runs it."""

import os
import subprocess
import sys

SETUP = """
import warnings
import torch
from torch import nn

def loss_fn(outputs, targets):
    warnings.warn("the targets look odd")
    return nn.functional.mse_loss(outputs, targets)

def setup():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    return {"model": model, "data": [(torch.randn(32, 8), torch.randn(32))] * 10, "loss_fn": loss_fn}
"""


def test_each_warning_is_shown_once(tmp_path):
    (tmp_path / "train.py").write_text(SETUP)
    done = subprocess.run(
        [sys.executable, "-m", "steadygrad", "check", "train.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "LOS006" in done.stdout
    said = [line.partition("Warning: ")[2] for line in done.stderr.splitlines() if "Warning: " in line]
    assert "the targets look odd" in said
    assert len(set(said)) == len(said)
