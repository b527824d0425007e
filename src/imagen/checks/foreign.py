"""Reads JSON that may come from somebody else: limited size, checked types, one-line errors.

All code of the project that reads JSON uses this module.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

from imagen.checks.arguments import described, fits
from imagen.errors import UserError
from imagen.files import open_regular

MAX_BYTES = 1 << 30
"""COCO's captions are 60 MB, a tokenizer 30 MB."""

MAX_DEPTH = 50
"""Deepest nesting of a record; a stage's configuration has 5 levels."""

Record = TypeVar("Record")


def read_json(path: Path, way_out: str, max_bytes: int = MAX_BYTES) -> Any:
    """The value of a JSON file. `way_out` ends the error message.

    Raises:
        UserError: if it is not a regular file, larger than `max_bytes`, not UTF-8, or not JSON.
        OSError: if it cannot be opened; FileNotFoundError if it does not exist.
    """
    with open_regular(path) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise UserError(f"{path}: more than {max_bytes} bytes; {way_out}")
    return parse_json(content, str(path), way_out)


def parse_json(content: bytes | str, where: str, way_out: str, allow_nan: bool = False) -> Any:
    """The value of a JSON text. `where` begins the error message, `way_out` ends it. A byte order mark is skipped.

    Raises:
        UserError: if it is not UTF-8, not JSON, nested too deeply, has a number of thousands of digits, or has a NaN
            (which Python writes) without `allow_nan`.
    """
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        return json.loads(text.removeprefix("\ufeff"), parse_constant=float if allow_nan else _refuse_constant)
    except UnicodeDecodeError as error:
        reason = f"not UTF-8 (byte {error.object[error.start]:#04x} at {error.start}); save the file as UTF-8"
        raise UserError(f"{where}: {reason}") from None
    except RecursionError:
        raise UserError(f"{where}: JSON nested too deeply; {way_out}") from None
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at line {error.lineno} column {error.colno}"
        raise UserError(f"{where}: not JSON ({reason}); {way_out}") from None
    except ValueError as error:  # a number with more digits than Python converts, or NaN
        reason = str(error).split(";")[0]
        raise UserError(f"{where}: not JSON ({reason}); {way_out}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def checked_record(cls: type[Record], value: object, where: str, way_out: str) -> Record:
    """Build an object of the dataclass `cls` from a JSON object with the same fields and types.

    Raises:
        UserError: for the first field that is missing, unknown or of a wrong type.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: a JSON object is expected, found {_kind(value)}; {way_out}")
    if _deeper_than(MAX_DEPTH, value):
        raise UserError(f"{where}: nested more than {MAX_DEPTH} deep; {way_out}")
    hints = get_type_hints(cls)
    dataclass: Any = cls
    known = {field.name: field for field in fields(dataclass)}
    for name in value:
        if name not in known:
            raise UserError(f"{where}: unknown field {name!r:.120}; {way_out}")
    for name, field in known.items():
        if name not in value and field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"{where}: the field {name!r} is missing; {way_out}")
        if name in value and not fits(value[name], hints[name]):
            raise UserError(f"{where}: {name} is {_kind(value[name])}, expected {described(hints[name])}; {way_out}")
    return cls(**value)


def _deeper_than(depth: int, value: object) -> bool:
    """Whether lists and objects in `value` are nested more than `depth` deep. Level by level, without recursion."""
    level = [value]
    for _ in range(depth):
        level = [child for node in level for child in _children(node)]
    return bool(level)


def _children(node: object) -> list[Any]:
    return list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []


def _kind(value: object) -> str:
    return "null" if value is None else f"{type(value).__name__} {value!r:.60}"
