"""The table of codes: a rule a file, in the order from cause to effect."""

from steadygrad.diagnosis.rule_file import rule

from . import (
    collapsed_correlation,
    dead_units,
    exploding_gradient,
    exploding_signal,
    init_gain_mismatch,
    non_finite_activation,
    non_finite_data,
    non_finite_gradient,
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

RULES = {found.code: found for found in _BY_CAUSE}
