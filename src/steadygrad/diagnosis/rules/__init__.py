"""The table of codes: a rule a file, in the order from cause to effect."""

from steadygrad.diagnosis.rule_file import rule

from . import (
    collapsed_correlation,
    dead_units,
    exploding_gradient,
    exploding_signal,
    gradient_ascent,
    identical_layers,
    init_gain_mismatch,
    no_gradient,
    non_finite_activation,
    non_finite_data,
    non_finite_gradient,
    optimizer_epsilon,
    parameters_not_optimized,
    symmetric_units,
    vanishing_gradient,
    vanishing_signal,
)

_BY_CAUSE = (
    rule("DAT003", "non-finite-data", non_finite_data),
    rule("INI002", "symmetric-units", symmetric_units),
    rule("INI003", "identical-layers", identical_layers),
    rule("INI001", "init-gain-mismatch", init_gain_mismatch, explained_by=("INI002",)),
    rule("OPT005", "parameters-not-optimized", parameters_not_optimized),
    rule("OPT006", "gradient-ascent", gradient_ascent),
    rule("FWD005", "dead-units", dead_units, explained_by=("INI002", "INI001")),
    rule("FWD003", "collapsed-correlation", collapsed_correlation, explained_by=("INI002", "INI001", "FWD005")),
    rule("FWD001", "vanishing-signal", vanishing_signal, explained_by=("INI002", "INI001", "FWD005", "FWD003")),
    rule("FWD002", "exploding-signal", exploding_signal, explained_by=("INI001",)),
    # NaN in the data explains neither of the two: what is measured is a batch that is finite.
    rule("FWD006", "non-finite-activation", non_finite_activation, explained_by=("FWD002",)),
    rule(
        "BWD001", "vanishing-gradient", vanishing_gradient, explained_by=("INI002", "INI001", "FWD005", "FWD003", "FWD001")
    ),
    rule("BWD002", "exploding-gradient", exploding_gradient, explained_by=("INI001", "FWD002")),
    rule("BWD003", "no-gradient", no_gradient, explained_by=("INI002", "INI001", "FWD005", "FWD001", "FWD003")),
    rule("BWD004", "non-finite-gradient", non_finite_gradient, explained_by=("FWD006", "BWD002")),
    rule("OPT004", "optimizer-epsilon", optimizer_epsilon, explained_by=("INI001", "FWD005", "FWD001", "BWD001")),
)

RULES = {found.code: found for found in _BY_CAUSE}
