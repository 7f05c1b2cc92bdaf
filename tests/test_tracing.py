"""The line and the module of an operator are read from the stack, in every mode, and nothing is left behind."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from steadygrad.tracing import SourceLine, is_run_by, running_module, source_line


class Recorder(TorchDispatchMode):
    def __init__(self, paths, skip=()):
        super().__init__()
        self.paths, self.skip, self.seen = paths, skip, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append((func.overloadpacket.__name__, source_line(skip=self.skip), running_module(self.paths)))
        return func(*args, **(kwargs or {}))


class Inner(nn.Module):
    def forward(self, x):
        return torch.tanh(x)


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Inner(), Inner()])
        self.norm = nn.LayerNorm(3)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return torch.exp(self.norm(x))


def _paths(model):
    return {id(m): path for path, m in model.named_modules()}


def _record(run, model, skip=()):
    # The recorder stands in this file, so its own frame would be the first: it is looked through by name.
    with Recorder(_paths(model), skip) as recorder:
        run()
    return recorder.seen


def test_each_operator_has_its_module():
    model = Outer()
    seen = {(name, path) for name, _, path in _record(lambda: model(torch.ones(2, 3)), model)}
    assert {("tanh", "blocks.0"), ("tanh", "blocks.1"), ("native_layer_norm", "norm"), ("exp", "")} <= seen


def test_the_line_is_the_users_and_not_torchs():
    scope = {"torch": torch, "__name__": "user"}
    code = compile("def forward(x):\n    return torch.nn.functional.normalize(x)\n", "/elsewhere/user_net.py", "exec")
    exec(code, scope)
    x = torch.ones(2, 3)
    lines = [line for _, line, _ in _record(lambda: scope["forward"](x), nn.Identity(), (__file__,))]
    assert len(lines) > 1  # normalize is several operators, all of one line of the user's
    assert {str(line) for line in lines} == {"user_net.py:2"}
    assert {line.function for line in lines} == {"forward"}


def test_a_decorated_function_is_still_the_line():
    @torch.no_grad()
    def decorated():
        return source_line()

    assert decorated().text == "return source_line()"


def test_a_hook_does_not_hide_the_module():
    model = Outer()
    model.blocks[1].register_forward_hook(lambda module, inputs, output: output * 2)
    seen = [(name, path) for name, _, path in _record(lambda: model(torch.ones(2, 3)), model)]
    assert ("mul", "blocks.1") in seen


def test_outside_every_module_there_is_none():
    assert running_module(_paths(Outer())) is None


def test_who_runs_an_operator_is_its_caller_outside_torch():
    class Asker(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(scope["ask"]("/elsewhere/"))
            return func(*args, **(kwargs or {}))

    seen, scope = [], {"torch": torch}
    exec(compile("def forward(x):\n    return torch.nn.functional.normalize(x)\n", "/elsewhere/net.py", "exec"), scope)
    scope["ask"] = is_run_by
    x = torch.ones(2, 3)
    with Asker():
        scope["forward"](x)
    assert set(seen) == {True}
    seen.clear()
    scope["ask"] = lambda folder: is_run_by("/not/there/")
    with Asker():
        scope["forward"](x)
    assert set(seen) == {False}


def test_a_line_without_source_has_an_empty_text():
    assert SourceLine("<nowhere>", 3, "f").text == ""


def test_torch_is_not_imported():
    code = "import sys, steadygrad.tracing as t; t.source_line(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
