"""Predict: an abstract interpreter that runs the user's code on moments instead of numbers."""

from .predict import predict as predict
