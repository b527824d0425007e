"""Types and shapes of arguments, checked in each test for the first calls of each function.

To check every call of the innermost functions took half of the time of all tests.
"""

import sys
from collections.abc import Callable
from functools import wraps
from operator import attrgetter
from typing import Any

from beartype import beartype

CALLS = 5
"""Calls of a function that are checked in a test."""

_checks: dict[str, int] = {}
_off: list[Any] = []


def first_calls(signature: Callable[..., Any]) -> Callable[..., Any]:
    """The check of a function's `signature`, which jaxtyping makes for its arguments, and for its result as well."""
    check = beartype(signature)
    name = f"{signature.__module__}:{signature.__qualname__}"

    @wraps(check)
    def counted(*args: Any, **kwargs: Any) -> Any:
        _checks[name] = _checks.get(name, 0) + 1
        if _checks[name] == 2 * CALLS:
            _switch_off(signature)
        return check(*args, **kwargs)

    return counted


def begin_again() -> None:
    """Every function is checked again: for the next test."""
    _checks.clear()
    while _off:
        del _off.pop().__no_type_check__


def _switch_off(signature: Callable[..., Any]) -> None:
    """Tell jaxtyping, which looks for this attribute at each call. Functions without a path are always checked."""
    try:
        function = attrgetter(signature.__qualname__)(sys.modules[signature.__module__])
    except (AttributeError, KeyError):
        return
    function = getattr(function, "__func__", function)
    if hasattr(function, "__wrapped__"):
        function.__no_type_check__ = True
        _off.append(function)
