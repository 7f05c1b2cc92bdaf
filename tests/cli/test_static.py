"""steadygrad check --static: a prediction alone, of models of any size, and one line for whatever cannot be used."""

import json
import resource
import subprocess
import sys

import pytest

from steadygrad import cli

HUGE = """
import torch
from torch import nn

def network():
    layers = [m for _ in range(20) for m in (nn.Linear(2**15, 2**15), nn.{activation}())]
    return nn.Sequential(*layers, nn.Linear(2**15, 10))

def setup():
    data = [(torch.randn(8, 2**15), torch.randint(10, (8,)))]
    return {{"model": {model}, "data": data, "loss_fn": nn.CrossEntropyLoss()}}
"""


def run(tmp_path, text, *options):
    file = tmp_path / "model.py"
    file.write_text(text)
    # 43 GB of weights where 8 GB can be had
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))  # noqa: E731
    command = [sys.executable, "-m", "steadygrad", "check", "--static", *options]
    command = [word.replace("FILE", str(file)) for word in command]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)


def test_a_model_that_does_not_fit_in_memory(tmp_path):
    done = run(tmp_path, HUGE.format(activation="Sigmoid", model="network"), "FILE", "--json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    codes = [f["code"] for f in report["findings"]]
    codes += [c["code"] for f in report["findings"] for c in f["consequences"]]
    assert "BWD001" in codes
    assert report["measured"] is None
    assert len(report["predicted"]["layers"]) == 41


def main(tmp_path, monkeypatch, capsys, text, *options):
    """The same in this process, for models that are small."""
    file = tmp_path / "model.py"
    file.write_text(text)
    words = [word.replace("FILE", str(file)) for word in ("check", "--static", *options)]
    monkeypatch.setattr(sys, "argv", ["steadygrad", *words])
    with pytest.raises(SystemExit) as status:
        cli.main()
    said = capsys.readouterr()
    return status.value.code, said.out, said.err


def test_a_factory_alone_needs_the_shape_of_a_batch(tmp_path, monkeypatch, capsys):
    text = HUGE.format(activation="SELU", model="network")
    code, out, err = main(tmp_path, monkeypatch, capsys, text, "FILE:network", "--inputs", "8,32768")
    assert (code, err) == (0, "")
    assert "grad_q" in out
    code, out, err = main(tmp_path, monkeypatch, capsys, text, "FILE:network")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "`inputs`" in err


BAD = {
    "a shape that does not fit": ("nn.Sequential(nn.Linear(4, 4), nn.Linear(8, 4))", "module '1' raised RuntimeError"),
    "numbers asked for": ("nn.Linear(4, int(np.asarray(torch.randn(4).sum().numpy())))", "numbers of a tensor"),
    "a device that is not there": ("nn.Linear(4, 4, device='cuda:7')", "device"),
    "token ids": ("nn.Embedding(10, 4)", "`inputs` must be token ids for module ''"),
    "an argument": ("None", "without arguments"),
    "no forward": (
        "type('Formless', (nn.Linear,), {'forward': nn.Module.forward})(4, 4)",
        "the model raised NotImplementedError",
    ),
    "a constructor that raises": ("nn.MultiheadAttention(4, 3)", "embed_dim must be divisible by num_heads"),
    "a device that the model insists on": ("nn.Linear(4, 4).to('cuda:7')", "device"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_status_2(tmp_path, monkeypatch, capsys, case):
    made, said = case
    argument = "width" if made == "None" else ""
    text = f"import numpy as np\nimport torch\nfrom torch import nn\n\ndef setup({argument}):\n    return {made}\n"
    code, out, err = main(tmp_path, monkeypatch, capsys, text, "FILE", "--inputs", "4,4")
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert said in err


def test_the_shape_of_a_batch_is_for_a_static_check(tmp_path, monkeypatch, capsys):
    text = HUGE.format(activation="SELU", model="network")
    _, _, err = main(tmp_path, monkeypatch, capsys, text, "FILE:network", "--inputs", "8;32768")
    assert "must be whole numbers separated by commas" in err
