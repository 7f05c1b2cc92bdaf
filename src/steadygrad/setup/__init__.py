"""A training setup: its parts, its first batch, and reading it from a file."""

from .batch import Batch as Batch
from .batch import checked_batch as checked_batch
from .batch import first_batch as first_batch
from .bound_step import bound_step as bound_step
from .bound_step import copied as copied
from .loading import file_of as file_of
from .loading import function_of as function_of
from .loading import load as load
from .parts import joined as joined
from .parts import mapped as mapped
from .parts import tensors_in as tensors_in
from .training_setup import Setup as Setup
from .user_code import raised as raised
from .user_code import user_code as user_code
