"""The one rule for texts that describe pictures: training captions and prompts."""

import re

from imagen.errors import UserError

CONTROL = re.compile(r"[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
"""Unicode's category Cc except white space. The characters that join emoji or divide words are not in it."""

SURROGATE = re.compile("[\ud800-\udfff]")


def checked_caption(value: object, where: str) -> str:
    """Return `value` if it is valid text in any script; it may be empty.

    Raises:
        UserError: if it is not text, or holds a control character (other than white space) or half a surrogate pair.
    """
    if not isinstance(value, str):
        kind = "null" if value is None else f"a {type(value).__name__}"
        raise UserError(f'{where}: the caption is {kind}, not text; for no caption write ""')
    if control := CONTROL.search(value):
        raise UserError(
            f"{where}: the caption holds the control character U+{ord(control[0]):04X} at position {control.start()}; "
            "remove it"
        )
    if not value.isascii() and SURROGATE.search(value):
        raise UserError(f"{where}: the caption holds half a surrogate pair (broken UTF-16); remove or repair it")
    return value


def checked_prompt(value: object, where: str) -> str:
    """`value` if it is a caption that is not empty.

    Raises:
        UserError: as for `checked_caption`, and for white space alone.
    """
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: a prompt must be a text that is not empty, found {value!r:.80}")
    return checked_caption(value, where)


def checked_captions(value: object, where: str) -> tuple[str, ...]:
    """The captions of a picture: one text, or a list from which training draws one each time.

    Raises:
        UserError: if the list is empty or holds an invalid caption.
    """
    if not isinstance(value, list | tuple):
        return (checked_caption(value, where),)
    if not value:
        raise UserError(f'{where}: the list of captions is empty; for no caption write ""')
    return tuple(checked_caption(one, f"{where}, caption {number}") for number, one in enumerate(value, start=1))
