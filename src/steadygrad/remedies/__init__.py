"""What mends a network in place: dead units revived, rectifiers exchanged."""

from .convert import Conversion as Conversion
from .convert import convert_ as convert_
from .revive import Revival as Revival
from .revive import revive_ as revive_
from .reviver import Reviver as Reviver
