"""The one rule for names that become paths: of runs, stages and evaluations, and names in other people's files."""

import re
from typing import TypeGuard

from imagen.errors import UserError

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


def is_name(value: object) -> TypeGuard[str]:
    """Whether `value` is safe as a file name on any disk and in any shell, and stays in its folder."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def checked_name(value: object, where: str) -> str:
    """Return `value` if it is a name. `where` is its key in the error message, such as `name` or `config.json: name`.

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
    """`checked_name`, but a number is taken as text: the command line parses `name=2024` as a number."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return checked_name(str(value) if is_number else value, where)


def printable(text: str) -> str:
    """`text` with the characters that control a terminal (escape codes, line breaks) written as \\x1b, \\n, …

    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


def printable_lines(text: str) -> str:
    """`printable` for text of several lines: line breaks stay."""
    return "\n".join(map(printable, text.split("\n")))
