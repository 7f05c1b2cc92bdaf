"""Predict: an abstract interpreter that runs the user's code on moments instead of numbers."""

from .inputs import Inputs as Inputs
from .predict import predict as predict
