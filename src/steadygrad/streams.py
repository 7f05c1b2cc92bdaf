"""Standard output and error as streams that take whatever is said."""

from __future__ import annotations

import codecs
import os
import sys
from io import TextIOWrapper

# What tables and formulas are drawn with, for encodings that have it not; of anything else a question mark is left.
_PLAIN = {
    "–": "..",
    "─": "-",
    "└": "`",
    "⋮": ":",
    "≈": "~",
    "±": "+-",
    "−": "-",
    "²": "^2",
    "η": "eta",
    "λ": "lambda",
    "β": "beta",
    "σ": "sigma",
}


def plain(text: str) -> str:
    """Return text in characters that each encoding has.

    >>> plain("0.3–0.4 ☃")
    '0.3..0.4 ?'
    """
    return "".join(char if char.isascii() else _PLAIN.get(char, "?") for char in text)


def _in_plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


def writable_streams() -> None:
    """Let whatever is said be written: where a stream is closed, to nowhere."""
    codecs.register_error("steadygrad", _in_plain)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="steadygrad")
