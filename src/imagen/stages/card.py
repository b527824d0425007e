"""The model card of an exported stage."""

import json
from typing import TYPE_CHECKING

from imagen.text.record import name_of

if TYPE_CHECKING:
    from imagen.stages.export import StageDescription


def default_card(description: "StageDescription", command: str = "") -> str:
    """A model card with what is known without an evaluation; `command` samples from the stage."""
    if description.low_resolution:
        task = f"{description.low_resolution} → {description.resolution} super-resolution"
    elif description.resolution == 1:
        task = "unCLIP's prior, text → CLIP's embedding of a picture"
    else:
        read = "text and CLIP's embedding of a picture" if description.clip else "text"
        task = f"{read} → {description.resolution} × {description.resolution} images"
    fingerprint = json.dumps(description.text)
    encoder = f"`{fingerprint}`"
    if description.text_source is not None:
        encoder = f"`{name_of(description.text_source)}`, fingerprint {encoder}"
    pictures = f"- Pictures: {description.world}\n" if description.world else ""
    made_for = description.made_for
    distilled = f"- Distilled from the stage with weights `{made_for.teacher:.12}…`: {made_for}\n" if made_for else ""
    start = f" after the stage with weights `{description.init_from[:12]}…`" if description.init_from else ""
    return (
        f"# Imagen stage `{description.name}`\n\n"
        f"{task}; {description.step} optimizer steps, {description.images_seen} images seen{start}; averaged weights"
        ".\n\n"
        f"{pictures}{distilled}- Text encoder: {encoder}\n- Network: `{description.denoiser['network']['_target_']}`\n"
    ) + (f"- Sample, where `sample.py` is: `{command}`\n" if command else "")
