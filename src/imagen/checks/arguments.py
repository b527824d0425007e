"""Checks plain values against a signature: `num_steps: int` refuses 1.5, "3" and `true`.

A configuration may hold values of any type, and Python silently accepts many wrong ones: a bool counts as an int, a
string as a sequence. Types are checked here once, so that no class has to check its own arguments.
"""

import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import isclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from imagen.errors import UserError


@dataclass(frozen=True)
class AtLeast:
    """The smallest allowed number, as part of an annotation."""

    bound: int


Count = Annotated[int, AtLeast(1)]
"""A whole number of at least 1."""

Natural = Annotated[int, AtLeast(0)]
"""A whole number of at least 0."""

LARGEST = sys.float_info.max
"""A number beyond it is infinite as a float; NaN is not comparable to it."""

NAMES = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text", types.NoneType: "null"}


def check_arguments(target: Callable[..., Any], values: Mapping[str, Any], where: str) -> None:
    """Check `values` against the annotations of `target`, a class or function. Nodes with a `_target_` are skipped,
    and so are annotations of anything but plain values.

    Raises:
        UserError: for the first value of a wrong type; names the value, its key and the expected type.
    """
    hints = _hints(target)
    for name, value in values.items():
        if name in hints and not fits(_without_targets(value), hints[name]):
            raise UserError(f"{where}.{name}={value!r:.80} must be {described(hints[name])}")


_BUILT = object()


def _without_targets(value: Any) -> Any:
    """`value`, with a placeholder of any type for each `_target_` node: those are checked when they are built."""
    if isinstance(value, Mapping):
        return _BUILT if "_target_" in value else {key: _without_targets(one) for key, one in value.items()}
    return [_without_targets(one) for one in value] if isinstance(value, list | tuple) else value


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value has an annotated type. A bool is not an int; an int is a float; a list is any sequence.

    NaN and infinity are no float: JSON, which settings are written to, has neither.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if value is _BUILT:
        return True
    if origin is Annotated:
        return fits(value, inner[0]) and all(value >= rule.bound for rule in inner[1:] if isinstance(rule, AtLeast))
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if origin in (list, tuple, Sequence):
        return isinstance(value, list | tuple) and _all_fit(value, inner, origin)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
    if hint in NAMES:
        return type(value) is hint
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(
            fits(key, inner[0]) and fits(one, inner[1]) for key, one in value.items()
        )
    # Any other class: no plain value is an instance of it.
    return (
        not isclass(hint) or hint in (object, Any) or type(value) not in NAMES or (hint is Path and type(value) is str)
    )


def described(hint: Any) -> str:
    """The annotated type in plain words.

    >>> described(Count | None)
    'a whole number of at least 1 or null'
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = [f" of at least {rule.bound}" for rule in inner[1:] if isinstance(rule, AtLeast)]
        return described(inner[0]) + "".join(bounds)
    if origin in (Union, types.UnionType):
        plain = [one for one in inner if one in NAMES or not isclass(one)]
        return " or ".join(dict.fromkeys(described(one) for one in plain or inner))
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (list, tuple, Sequence):
        return f"a list, each {described(inner[0])}" if inner else "a list"
    return NAMES.get(hint) or str(getattr(hint, "__name__", hint))


def _all_fit(values: Sequence[Any], inner: tuple[Any, ...], origin: Any) -> bool:
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        return len(values) == len(inner) and all(map(fits, values, inner))
    return not inner or all(fits(value, inner[0]) for value in values)


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of the parameters of `target`; empty if they cannot be resolved."""
    try:
        return get_type_hints(target.__init__ if isclass(target) else target, include_extras=True)
    except (NameError, TypeError):  # a name imported for type checkers only
        return {}
