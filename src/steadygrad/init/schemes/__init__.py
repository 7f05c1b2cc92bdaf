"""Schemes: which recipe each parameter of a whole model gets, and why."""

from .choice import Choice as Choice
from .choice import Chosen as Chosen
