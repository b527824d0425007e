"""The one rule for names that become paths: of runs, stages, evaluations, and of what comes with somebody's files."""

import re
from typing import TypeGuard

from imagen.errors import UserError

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


def is_name(value: object) -> TypeGuard[str]:
    """Whether `value` can be the name of a file or folder on any disk, in any shell, and stays in its folder."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def checked_name(value: object, where: str) -> str:
    """`value` if it is a name; `where` says in the error whose it was to be, such as `name` or `config.json: name`.

    Raises:
        UserError: unless it is text of 1 to 100 letters, digits, `.`, `_` and `-`, and does not start with a dot.
    """
    if not is_name(value):
        raise UserError(
            f"{where}={value!r:.120} is not a name: use 1 to 100 letters, digits, '.', '_' and '-', not starting "
            "with '.'"
        )
    return value


def as_name(value: object, where: str) -> str:
    """As `checked_name`; a number is taken as its text: `name=2024` is a number to whoever reads the command line."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return checked_name(str(value) if is_number else value, where)


def printable(text: str) -> str:
    """`text` with what would steer a terminal (escape codes, line breaks) written as \\x1b, \\n, …

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


def printable_lines(text: str) -> str:
    """`printable`, but for line breaks, of text that has several lines."""
    return "\n".join(map(printable, text.split("\n")))
