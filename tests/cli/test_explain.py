"""`steadygrad explain` as a user runs it."""

import subprocess
import sys

import pytest

from steadygrad import cli

GOOD = {"--depth": "50", "--width": "512", "--activation": "tanh", "--init": "xavier-uniform"}


def arguments(**changed):
    given = GOOD | {f"--{name}": value for name, value in changed.items()}
    return ["explain", *(word for pair in given.items() for word in pair)]


@pytest.fixture
def run(monkeypatch, capsys):
    """The command line in this process: (status, stdout, stderr)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["steadygrad", *words])
        monkeypatch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("init", ["orthogonal", "xavier-normal"])
def test_bands_that_are_not_of_orthogonal_weights_say_so(run, init):
    shown = " ".join(run(*arguments(init=init))[1].split())
    assert ("Not known: how little orthogonal weights vary over draws" in shown) == (init == "orthogonal")


def test_a_row_a_layer_the_verdict_and_what_to_use_instead(run):
    status, out, err = run(*arguments())
    assert (status, err) == (0, "")
    assert "The signal shrinks" in out
    assert "Use instead: The edge of chaos of tanh" in out
    assert "torch.nn.init.normal_(layer.weight" in out
    assert len(run(*arguments(), "--all")[1].splitlines()) - len(out.splitlines()) == 50 - 11


def test_what_is_already_right_has_no_instead(run):
    assert "Use instead: nothing, this is it." in run(*arguments(activation="relu", init="he-normal"))[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (arguments(depth="0"), "`depth` is a number of hidden layers and must be >= 1, got 0."),
        (arguments(width="-3"), "`width` must be >= 1, got -3."),
        (arguments(activation="thanh"), "got 'thanh'. Did you mean 'tanh'?"),
        (arguments(init="xavier-unifrom"), "got 'xavier-unifrom'. Did you mean 'xavier-uniform'?"),
        (arguments(depth="many"), "`--depth` must be a whole number, got 'many'."),
        (["explain"], "Missing option '--depth'"),
        (["explain", "--dept", "3"], "No such option: --dept"),
        (["explian"], "No such command 'explian'. Did you mean 'explain'?"),
        (["--debgu"], "No such option: --debgu"),
    ],
)
def test_bad_input_is_one_line_and_status_two(run, words, said):
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_traceback_only_with_debug(run):
    assert "Traceback" not in run(*arguments(depth="0"))[2]
    assert "Traceback" in run(*arguments(depth="0"), "--debug")[2]


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_is_no_error(run, words):
    status, out, _ = run(*words)
    assert status == 0
    assert "explain" in out
    assert "check" in out


def test_explain_imports_neither_torch_nor_altair_nor_pydantic_nor_the_integrators_of_scipy():
    code = (
        "import sys; from steadygrad import cli; sys.argv = ['steadygrad', *sys.argv[1:]]\n"
        "try: cli.main()\n"
        "finally: print('IMPORTED', *sorted(m for m in sys.modules if m in "
        "('torch', 'altair', 'vl_convert', 'pydantic', 'scipy.integrate')))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments()], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "IMPORTED"
