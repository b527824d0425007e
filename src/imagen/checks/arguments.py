"""Whether plain values are what a signature asks for: `num_steps: int` is no 1.5, no "3" and no `true`.

A configuration says values of any type, and Python takes most of them for most others: a bool counts as an int, a text
as a sequence. What a signature says is held here, so that no class has to ask again.
"""

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import isclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from imagen.errors import UserError


@dataclass(frozen=True)
class AtLeast:
    """The smallest number that is allowed, in an annotation."""

    bound: int


Count = Annotated[int, AtLeast(1)]
"""A whole number of at least 1."""

Natural = Annotated[int, AtLeast(0)]
"""A whole number of at least 0."""

NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", types.NoneType: "null"}


def check_arguments(target: Callable[..., Any], values: Mapping[str, Any], where: str) -> None:
    """Hold `values` to the annotations of `target`, a class or function. What is to be built (`_target_`) is passed
    over, and so is what an annotation says of anything but plain values.

    Raises:
        UserError: naming the first value of another type, where it stands, and the type.
    """
    hints = _hints(target)
    for name, value in values.items():
        if name in hints and not fits(_passed_over(value), hints[name]):
            raise UserError(f"{where}.{name}={value!r:.80} must be {described(hints[name])}")


_BUILT = object()


def _passed_over(value: Any) -> Any:
    """`value` with what is to be built replaced: it is held to its own signature, and fits everywhere."""
    if isinstance(value, Mapping):
        return _BUILT if "_target_" in value else {key: _passed_over(one) for key, one in value.items()}
    return [_passed_over(one) for one in value] if isinstance(value, list | tuple) else value


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value is of an annotated type. A bool is no int, an int is a float, a list is any sequence."""
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
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint in NAMES:
        return type(value) is hint
    if origin in (dict, Mapping):
        return isinstance(value, Mapping) and all(
            fits(key, inner[0]) and fits(one, inner[1]) for key, one in value.items()
        )
    # Of other classes only this is known: no plain value is an object of them.
    return (
        not isclass(hint) or hint in (object, Any) or type(value) not in NAMES or (hint is Path and type(value) is str)
    )


def described(hint: Any) -> str:
    """The annotated type in the user's words.

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
    """The annotations of what `target` is called with; none where they cannot be read."""
    try:
        return get_type_hints(target.__init__ if isclass(target) else target, include_extras=True)
    except (NameError, TypeError):  # a name that is imported for type checkers only
        return {}
