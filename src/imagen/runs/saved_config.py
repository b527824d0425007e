"""The configuration that a run saved, which may be a stranger's."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from imagen.checks.arguments import Count, described, fits
from imagen.errors import UserError
from imagen.files import open_regular
from imagen.instantiation import refuse_interpolations

WAY_OUT = "restore it, or start another run with name=..."
MAX_BYTES, MAX_DEPTH, MAX_NODES, MAX_BITS = 1 << 18, 40, 10_000, 1024
"""Limits of the file, its nesting, the number of its YAML events, and the whole numbers in it. The largest file of our
own has 6 kB, depth 7 and 500 events."""


def read_saved(path: Path) -> dict[str, Any]:
    """The configuration in `path`, written by `RunFolder.keep_configuration`, as plain values. A run saves it resolved,
    so what looks like an interpolation is left as text.

    We never write YAML aliases or tags. Nested aliases turn a few bytes into gigabytes, so the events of the file are
    checked before any value is built.

    Raises:
        UserError: if it exceeds the limits, has aliases or tags, or is not UTF-8, not YAML or not a mapping.
        OSError: if it cannot be opened.
    """
    with open_regular(path) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UserError(f"{path}: more than {MAX_BYTES} bytes, which no run writes; {WAY_OUT}")
    try:
        text = content.decode("utf-8")
        _look_through(text, path)
        config: Any = OmegaConf.to_container(OmegaConf.load(StringIO(text)), resolve=False)
    except UserError:
        raise
    except (
        yaml.YAMLError,
        OmegaConfBaseException,
        ValueError,
    ) as error:  # ValueError: thousands of digits; not UTF-8
        raise UserError(
            f"{path}: not YAML ({' '.join(str(error).split('; use sys.')[0].split())}); {WAY_OUT}"
        ) from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: a mapping is expected, found {type(config).__name__}; {WAY_OUT}")
    if any(isinstance(value, int) and value.bit_length() > MAX_BITS for value in _values(config)):
        raise UserError(f"{path}: a number of more than {MAX_BITS} bits, which no run writes; {WAY_OUT}")
    return config


def saved_sections(path: Path) -> DictConfig:
    """The sections of a run's configuration that sampling needs: `stage` and `text`, and `init_from`.

    Raises:
        UserError: as `read_saved`; if a section is missing, or holds an interpolation, since a run saves them resolved;
            if a key of `text` is no string.
        OSError: if the file cannot be opened.
    """
    config = read_saved(path)
    sections = {name: config.get(name) for name in ("stage", "text")}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise UserError(f"{path}: not the configuration of a run ({name} is missing); restore it")
        refuse_interpolations(section, f"{path}: {name}")
    for key in _keys(sections["text"]):
        if not isinstance(key, str):
            raise UserError(f"{path}: text has the key {key!r:.60}, which is no name; {WAY_OUT}")
    start = config.get("init_from")
    if start is not None and not isinstance(start, str):
        raise UserError(f"{path}: init_from={start!r:.60} is no folder; {WAY_OUT}")
    return OmegaConf.create(sections | {"init_from": start})


def max_steps(config: dict[str, Any], path: Path) -> int:
    """`trainer.max_steps` of the configuration from `path`. Raises UserError if it is missing or no number of steps."""
    trainer = config.get("trainer")
    steps = trainer.get("max_steps") if isinstance(trainer, dict) else None
    if not isinstance(steps, int) or not fits(steps, Count):
        raise UserError(f"{path}: trainer.max_steps={steps!r:.60} must be {described(Count)}; {WAY_OUT}")
    return steps


def _look_through(text: str, path: Path) -> None:
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"{path}: holds a YAML alias, which no run writes (an alias bomb?); {WAY_OUT}")
        if getattr(event, "tag", None) is not None:
            raise UserError(f"{path}: holds the YAML tag {event.tag!r:.60}, which no run writes; {WAY_OUT}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or count > MAX_NODES:
            raise UserError(
                f"{path}: more than {MAX_DEPTH} levels or {MAX_NODES} values, which no run writes; {WAY_OUT}"
            )


def _keys(node: Any) -> Iterator[Any]:
    """Every key below `node`."""
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _keys(child)
    yield from node if isinstance(node, dict) else ()


def _values(node: Any) -> Iterator[Any]:
    """Every key below `node`, and every value that is no mapping or list."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from _values(value)
    elif isinstance(node, list):
        for value in node:
            yield from _values(value)
    else:
        yield node
