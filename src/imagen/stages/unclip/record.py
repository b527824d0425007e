"""What the configuration of a conditioner, plain values, says of the CLIP of unCLIP."""

from collections.abc import Mapping
from typing import Any


def clip_sha256(conditioner: Any) -> str | None:
    """Of the CLIP whose vectors a stage so conditioned makes or reads; None for any other stage."""
    while isinstance(conditioner, Mapping):
        if isinstance(clip := conditioner.get("clip"), Mapping):
            return str(clip.get("sha256"))
        conditioner = conditioner.get("others")
    return None


def unplaced(node: Any) -> Any:
    """The configuration without the places of files whose sha256 it has: a model that was moved is the same."""
    if not isinstance(node, Mapping):
        return node
    return {name: unplaced(value) for name, value in node.items() if name != "path" or node.get("sha256") is None}
