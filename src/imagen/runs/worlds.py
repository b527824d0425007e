"""Which pictures a run was trained on, for exports and checkpoints that are older than the record of it."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from imagen.checks.worlds import World
from imagen.data.openmoji.source import OPENMOJI
from imagen.data.shapes_source import SHAPES
from imagen.errors import UserError
from imagen.files import user_path
from imagen.places import ROOT
from imagen.runs.saved_config import read_saved
from imagen.stages.export import StageDescription

log = logging.getLogger(__name__)

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


def warn_of_foreign_words(text: Mapping[str, Any], world: World) -> None:
    """One line of warning where the shapes world's T5 is to read captions of other pictures: it knows no other words.

    Args:
        text: the section `text` of a configuration.
        world: of the training pictures.
    """
    path = (text.get("encoder") or {}).get("path")
    if world != SHAPES and path is not None and user_path(path) == ROOT / "assets" / "shapes_t5":
        log.warning(
            "text=shapes_t5 knows the words of the shapes world alone, and the captions are of %s: take text=minilm or "
            "another encoder (docs/how-to/choose_a_text_encoder.md)", world,
        )  # fmt: skip


def with_world(description: StageDescription, run: Path) -> StageDescription:
    """`description`; where it does not say what the stage was trained on, with what config.yaml in the folder `run`
    says, which need not be there and may be another program's."""
    if description.trained_on is not None:
        return description
    with suppress(UserError, OSError):
        if (world := world_of_configuration(read_saved(run / "config.yaml"))) is not None:
            return replace(description, trained_on=world.as_record())
    return description
