"""Which pictures a run was trained on, for exports and checkpoints that are older than the record of it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from imagen.checks.worlds import World
from imagen.data.openmoji.source import OPENMOJI
from imagen.data.shapes_source import SHAPES
from imagen.errors import UserError
from imagen.runs.saved_config import read_saved
from imagen.stages.export import StageDescription

KNOWN = {world.kind: world for world in (SHAPES, OPENMOJI)}
"""Kinds that have one world only."""

MOST_WRAPPERS = 20
"""Selections of rows around a source; the configuration may be a stranger's."""


def world_of_configuration(config: Mapping[str, Any]) -> World | None:
    """What the configuration of a run says of its training pictures: plain values, from which nothing is built. It
    has no fingerprint of files. None if it says nothing."""
    data = config.get("data")
    node = data.get("train") if isinstance(data, Mapping) else None
    for _ in range(MOST_WRAPPERS):
        if not isinstance(node, Mapping) or not isinstance(node.get("source"), Mapping):
            break
        node = node["source"]
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        return None
    kind = node["_target_"].rsplit(".", 1)[-1]
    if kind in KNOWN:
        return KNOWN[kind]
    path = node.get("path")
    return World(f"the pictures in {path}" if isinstance(path, str) else f"the pictures of {kind}", kind)


def with_world(description: StageDescription, run: Path) -> StageDescription:
    """`description`; where it does not say what the stage was trained on, with what config.yaml in the folder `run`
    says, which need not be there and may be another program's."""
    if description.trained_on is not None:
        return description
    with suppress(UserError, OSError):
        if (world := world_of_configuration(read_saved(run / "config.yaml"))) is not None:
            return replace(description, trained_on=world.as_record())
    return description
