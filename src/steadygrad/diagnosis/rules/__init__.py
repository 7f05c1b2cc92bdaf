"""The table of codes: a rule a file, in the order from cause to effect."""

from steadygrad.diagnosis.rule_file import rule

from . import (
    clipping_needed,
    clipping_too_tight,
    collapsed_correlation,
    dead_units,
    divergence,
    dying_units,
    exploding_gradient,
    exploding_signal,
    init_gain_mismatch,
    learning_rate_too_high,
    learning_rate_too_low,
    loss_spike,
    no_progress,
    non_finite_activation,
    non_finite_data,
    non_finite_gradient,
    oscillating_loss,
    vanishing_gradient,
    vanishing_signal,
)

_BY_CAUSE = (
    rule("DAT003", "non-finite-data", non_finite_data),
    rule("INI001", "init-gain-mismatch", init_gain_mismatch),
    rule("FWD005", "dead-units", dead_units, explained_by=("INI001",)),
    rule("FWD003", "collapsed-correlation", collapsed_correlation, explained_by=("INI001", "FWD005")),
    rule("FWD001", "vanishing-signal", vanishing_signal, explained_by=("INI001", "FWD005", "FWD003")),
    rule("FWD002", "exploding-signal", exploding_signal, explained_by=("INI001",)),
    # NaN in the data explains neither of the two: what is measured is a batch that is finite.
    rule("FWD006", "non-finite-activation", non_finite_activation, explained_by=("FWD002",)),
    rule("BWD001", "vanishing-gradient", vanishing_gradient, explained_by=("INI001", "FWD005", "FWD003", "FWD001")),
    rule("BWD002", "exploding-gradient", exploding_gradient, explained_by=("INI001", "FWD002")),
    rule("BWD004", "non-finite-gradient", non_finite_gradient, explained_by=("FWD006", "BWD002")),
)

# What is wrong before the first step is not the doing of a step: it explains whatever steps show. A model without
# nonlinearity and an optimizer that holds part of it still take steps of the right size.
_STATIC = tuple(found.code for found in _BY_CAUSE)
_OF_STEPS = tuple(code for code in _STATIC if code not in ("NET001", "OPT005"))

_BY_STEPS = (
    # A step a hundred times too long on a few batches looks like a rate that is too high on all of them.
    rule("OPT003", "clipping-needed", clipping_needed, explained_by=_OF_STEPS),
    rule("OPT001", "learning-rate-too-high", learning_rate_too_high, explained_by=(*_OF_STEPS, "OPT003")),
    rule("OPT007", "clipping-too-tight", clipping_too_tight, explained_by=_OF_STEPS),
    rule("OPT002", "learning-rate-too-low", learning_rate_too_low, explained_by=(*_OF_STEPS, "OPT007")),
)

# A trial's symptoms stand beside no cause, and the graver of them explain the others.
_CAUSES = (*_STATIC, *(found.code for found in _BY_STEPS))

_IN_A_RUN = (
    rule("RUN002", "divergence", divergence, explained_by=_CAUSES),
    rule("RUN005", "dying-units", dying_units, explained_by=(*_CAUSES, "RUN002")),
    rule("RUN003", "oscillating-loss", oscillating_loss, explained_by=(*_CAUSES, "RUN002")),
    rule("RUN001", "loss-spike", loss_spike, explained_by=(*_CAUSES, "RUN002", "RUN003")),
    rule("RUN004", "no-progress", no_progress, explained_by=(*_CAUSES, "RUN005", "RUN003")),
)

RULES = {found.code: found for found in (*_BY_CAUSE, *_BY_STEPS, *_IN_A_RUN)}
