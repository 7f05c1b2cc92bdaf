"""What is wrong with a model as built and an optimizer as configured comes first; sound setups are left in peace."""

import pytest
import torch
from model_setups import BROKEN, SOUND, Model, mlp, setup, vectors
from torch import nn

import steadygrad as sg
from steadygrad.diagnosis.evidence import Collector, LayerGains
from steadygrad.fans import fans
from steadygrad.finding import Level
from steadygrad.setup import Setup


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def grave(report) -> list[str]:
    return [found.code for found in report.findings if found.level != Level.INFO]


@pytest.mark.parametrize("name", BROKEN)
def test_the_fault_comes_first_and_alone(name):
    code, build = BROKEN[name]
    assert grave(sg.check(build())) == [code]


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_setup_is_left_in_peace(name):
    assert grave(sg.check(SOUND[name]())) == []


@pytest.mark.parametrize("name", ["a_group_at_rate_zero", "encoder_of_copied_layers", "a_cell_called_in_a_loop"])
def test_steps_and_traces_leave_everything_as_it_was(name):
    made = BROKEN[name][1]() if name in BROKEN else SOUND[name]()
    model, state = made["model"], torch.get_rng_state()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    sg.check(made)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not made["optimizer"].state


@pytest.mark.parametrize("name", ["an_optimizer_of_a_copy", "rmsprop_with_epsilon_ten", "experts_that_seed_themselves"])
def test_the_code_of_the_fix_makes_the_same_check_clean(name):
    made = BROKEN[name][1]()
    (found,) = sg.check(made).findings
    exec(found.fix_code, made)
    assert grave(sg.check({key: made[key] for key in ("model", "data", "loss_fn", "optimizer")})) == []


def test_a_cut_is_named_with_its_module_and_line():
    (found,) = sg.check(BROKEN["a_way_through_numpy"][1]()).findings
    assert found.module == "body"
    assert found.line.startswith("model_setups.py:")
    assert "`detach`" in found.message


def test_a_masked_row_is_named_with_its_line_and_remedy():
    (found,) = sg.check(BROKEN["a_row_masked_as_a_whole"][1]()).findings
    assert "`_softmax`" in found.message
    assert "masked as a whole" in found.fix
    assert found.line.startswith("model_setups.py:")


def test_the_derivative_of_a_root_at_zero_is_named_where_it_stands():
    def run(m, x):
        hidden = torch.tanh(m.body(x))
        return m.head((hidden - hidden.detach()).abs().sqrt() + hidden)

    made = setup(Model(run, body=nn.Linear(16, 8), head=nn.Linear(8, 4)), vectors())
    (found,) = sg.check(made).findings
    assert found.code == "BWD004"
    assert "the derivative of `sqrt`" in found.message
    assert found.line.startswith("test_model_rules.py:")


@pytest.mark.parametrize("act", [nn.ReLU(), nn.Tanh(), nn.GELU(), nn.SiLU(), nn.ELU(), nn.Softplus()])
def test_functional_activations_ask_for_the_gain_that_their_modules_do(act):
    by_module = nn.Sequential(nn.Linear(16, 32), act, nn.Linear(32, 4))
    by_function = Model(lambda m, x: m.b(act.forward(m.a(x))), a=nn.Linear(16, 32), b=nn.Linear(32, 4))
    asked = []
    for model in (by_module, by_function):
        layer = Collector(Setup.of(setup(model, vectors()))).get(LayerGains).layers[0]
        asked.append((layer.low, layer.high))
    assert asked[1] == pytest.approx(asked[0], rel=1e-12)


def test_an_infinity_of_a_mask_or_a_logarithm_is_not_growth():
    model = Model(lambda m, x: torch.log(torch.relu(m.a(x))), a=nn.Linear(16, 4))
    assert "FWD002" not in {f.code for f in sg.check(setup(nn.Sequential(model, nn.Linear(4, 4)), vectors())).findings}


def test_growth_is_an_error_where_it_overflows_and_a_warning_before():
    levels = []
    for scale in (40.0, 1e9):
        model = mlp(16, 64, 64, 64, 4)
        for layer in model[:-1:2]:
            nn.init.normal_(layer.weight, std=scale / fans(layer).fan_in ** 0.5)
        levels.append(sg.check(setup(model, vectors()), select=["FWD002"]).findings[0].level)
    assert levels == [Level.WARN, Level.ERROR]
