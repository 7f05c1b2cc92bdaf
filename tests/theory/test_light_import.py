"""Theory costs NumPy and scipy.special: no torch, no scipy.integrate, no Altair until a picture is drawn."""

import subprocess
import sys

CODE = """
import sys
import numpy as np
from steadygrad import theory
for name in theory.NAMES:
    try:
        theory.gain(name)
        theory.correlation_map(name, 1.0, np.linspace(-1, 1, 11))
    except ValueError:
        pass
theory.edge_of_chaos_curve("tanh")
theory.mlp(depth=3, width=16, activation="gelu", init="he-normal", outputs=4)
import steadygrad.theory.pictures
print(sorted({m.split(".")[0] for m in sys.modules} & {"torch", "altair", "pandas"}), "scipy.integrate" in sys.modules)
"""


def test_no_heavy_import():
    out = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[] False"
