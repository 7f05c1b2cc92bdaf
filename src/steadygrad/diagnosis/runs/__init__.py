"""Detectors over the record of a run, a number a step: of a trial, or of a run that goes on."""
