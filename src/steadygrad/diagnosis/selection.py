"""Which rules are meant by codes and prefixes of codes."""

from __future__ import annotations

from collections.abc import Iterable

from steadygrad.errors import did_you_mean, not_allowed


def selected(codes: Iterable[str], select: Iterable[str] = (), ignore: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the codes that are selected and not ignored, in their order.

    Args:
        codes: all there are.
        select: codes or prefixes of them, as "FWD"; all where it is empty.
        ignore: the same; wins over `select`.

    Raises:
        ValueError: a code or prefix that nothing begins with, or nothing is left to look at.

    >>> selected(["FWD001", "FWD002", "INI001"], select=["FWD"], ignore=["FWD002"])
    ('FWD001',)
    """
    known = tuple(codes)
    wanted = beginning_with(known, "select", select) if tuple(select) else set(known)
    unwanted = beginning_with(known, "ignore", ignore)
    left = tuple(code for code in known if code in wanted - unwanted)
    if not left:
        raise ValueError(not_allowed("ignore", "must leave a rule that is selected", _written(ignore)))
    return left


def _written(prefixes: Iterable[str]) -> str:
    return prefixes if isinstance(prefixes, str) else ", ".join(prefixes)


def unknown_code(argument: str, got: object, known: Iterable[str]) -> str:
    """Return the message for what no rule's code begins with.

    >>> unknown_code("select", "INI01", ["INI001"])
    "`select` must be a rule's code or its beginning, as FWD001 or FWD, got 'INI01'. Did you mean 'INI001'?"
    >>> unknown_code("select", "XYZ", ["INI001"])
    "`select` must be a rule's code or its beginning, as FWD001 or FWD, got 'XYZ'. `steadygrad rule` lists them."
    """
    near = did_you_mean(got, known) or " `steadygrad rule` lists them."
    return not_allowed(argument, "must be a rule's code or its beginning, as FWD001 or FWD", got) + near


def beginning_with(codes: Iterable[str], argument: str, prefixes: Iterable[str]) -> set[str]:
    """Return the codes that begin with one of the prefixes.

    Args:
        codes: all there are.
        argument: what to call the prefixes in an error.
        prefixes: codes, or beginnings of them.

    Raises:
        ValueError: a prefix that nothing begins with.

    >>> sorted(beginning_with(["FWD001", "FWD002", "INI001"], "code", ["FWD"]))
    ['FWD001', 'FWD002']
    """
    known, found = tuple(codes), set()
    for prefix in [prefixes] if isinstance(prefixes, str) else prefixes:
        matching = {code for code in known if prefix and code.startswith(prefix)}
        if not matching:
            raise ValueError(unknown_code(argument, prefix, known))
        found |= matching
    return found
