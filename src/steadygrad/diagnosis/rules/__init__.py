"""The table of codes: a rule a file, in the order from cause to effect."""

from steadygrad.diagnosis.rule_file import rule

from . import (
    activated_logits,
    batch_size_dependent_loss,
    broadcast_loss,
    collapsed_correlation,
    constant_features,
    dead_units,
    exploding_gradient,
    exploding_signal,
    init_gain_mismatch,
    initial_loss_off,
    invalid_labels,
    loss_task_mismatch,
    missing_nonlinearity,
    non_finite_activation,
    non_finite_data,
    non_finite_gradient,
    output_range_mismatch,
    single_class_softmax,
    unscaled_inputs,
    unscaled_targets,
    unstable_softmax,
    vanishing_gradient,
    vanishing_signal,
)

# What is wrong before a layer has run, and what the loss is told wrongly: whatever is out of scale after them may be so
# for that reason.
_DATA = ("DAT001", "DAT002", "DAT004", "DAT005")
_LOSS = ("LOS002", "LOS001", "LOS003", "LOS005", "LOS006", "LOS007", "LOS008")

_BY_CAUSE = (
    rule("DAT003", "non-finite-data", non_finite_data),
    rule("DAT005", "invalid-labels", invalid_labels),
    rule("DAT004", "constant-features", constant_features),
    rule("DAT001", "unscaled-inputs", unscaled_inputs),
    rule("DAT002", "unscaled-targets", unscaled_targets),
    rule("LOS006", "broadcast-loss", broadcast_loss),
    rule("LOS002", "single-class-softmax", single_class_softmax),
    rule("LOS001", "activated-logits", activated_logits),
    rule("LOS005", "output-range-mismatch", output_range_mismatch),
    rule("LOS003", "unstable-softmax", unstable_softmax),
    rule("LOS007", "loss-task-mismatch", loss_task_mismatch),
    rule("LOS008", "batch-size-dependent-loss", batch_size_dependent_loss),
    rule("NET001", "missing-nonlinearity", missing_nonlinearity),
    rule("INI001", "init-gain-mismatch", init_gain_mismatch),
    rule("FWD005", "dead-units", dead_units, explained_by=("INI001",)),
    rule("FWD003", "collapsed-correlation", collapsed_correlation, explained_by=("INI001", "FWD005")),
    rule("FWD001", "vanishing-signal", vanishing_signal, explained_by=("INI001", "FWD005", "FWD003")),
    rule("FWD002", "exploding-signal", exploding_signal, explained_by=("INI001",)),
    rule("LOS004", "initial-loss-off", initial_loss_off, explained_by=(*_DATA, *_LOSS, "INI001", "FWD002")),
    # NaN in the data explains neither of the two: what is measured is a batch that is finite.
    rule("FWD006", "non-finite-activation", non_finite_activation, explained_by=("FWD002",)),
    rule("BWD001", "vanishing-gradient", vanishing_gradient, explained_by=("INI001", "FWD005", "FWD003", "FWD001")),
    rule("BWD002", "exploding-gradient", exploding_gradient, explained_by=("INI001", "FWD002")),
    rule("BWD004", "non-finite-gradient", non_finite_gradient, explained_by=("FWD006", "BWD002")),
)

RULES = {found.code: found for found in _BY_CAUSE}
