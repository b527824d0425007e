"""The prompts of FID-30K (Imagen, section 4.1): captions of COCO's 2014 validation set, chosen by a reproducible rule
and frozen in a manifest of ids. Users bring their own copy of the captions; no caption text is shipped."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagen.checks.foreign import read_json
from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import PromptSet, list_prompts
from imagen.files import fingerprint, user_path, write_atomically

RULE = (
    "pictures in the order of sha256('image <id>'), each with its caption of the smallest sha256('caption <id>'), ids "
    "in decimal; white space inside a caption becomes one space"
)


@dataclass(frozen=True)
class Caption:
    """One annotation of COCO's file, with its text."""

    image: int
    id: int
    text: str


def coco_prompts(path: str | Path, count: int, images: int, captions: int, manifest: str | Path) -> PromptSet:
    """The first `count` pictures of captions_val2014.json by `RULE`, one caption each.

    The rule uses no random generator, so the choice is the same in any language and version, and the first 10,000 of
    30,000 prompts are the set of 10,000. `manifest` is written at first use, with the ids and the hash of the texts;
    from then on the captions must agree with it.

    Raises:
        UserError: if the file does not have `images` pictures with captions and `captions` captions (40,504 and 202,654
            in the published file), or does not agree with the manifest.
    """
    path, manifest = user_path(path), user_path(manifest)
    annotations = _read(path)
    pictures = len({caption.image for caption in annotations})
    if (pictures, len(annotations)) != (images, captions):
        raise UserError(
            f"COCO captions {path}: {len(annotations)} captions of {pictures} pictures, but captions_val2014.json has "
            f"{captions} of {images}; use prompts=file for prompts of your own"
        )
    if not 1 <= count <= images:
        raise UserError(f"COCO has {images} pictures with captions; prompts.count is {count}")
    chosen = choose(annotations)
    frozen = _frozen(chosen)
    _verify_or_write(frozen, manifest, path)
    prompts = list_prompts([caption.text for caption in chosen[:count]]).prompts
    return PromptSet(prompts, {"kind": "coco", "rule": RULE, "texts_sha256": frozen["texts_sha256"]})


def choose(captions: Sequence[Caption]) -> list[Caption]:
    """One caption of each picture, by `RULE`."""
    of_picture: dict[int, Caption] = {}
    for caption in sorted(captions, key=lambda caption: _rank("caption", caption.id)):
        of_picture.setdefault(caption.image, caption)
    return [of_picture[image] for image in sorted(of_picture, key=lambda image: _rank("image", image))]


def _rank(kind: str, number: int) -> bytes:
    return hashlib.sha256(f"{kind} {number}".encode()).digest()


def _read(path: Path) -> list[Caption]:
    try:
        annotations = read_json(path, "use the published file")["annotations"]
        return [Caption(int(a["image_id"]), int(a["id"]), " ".join(a["caption"].split())) for a in annotations]
    except OSError as error:
        raise UserError(f"COCO captions {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: not COCO's captions, an object whose annotations have image_id, id and caption "
            f"({type(error).__name__}: {error})"
        ) from error


def _frozen(chosen: Sequence[Caption]) -> dict[str, Any]:
    ids = [[caption.image, caption.id] for caption in chosen]
    return {
        "rule": RULE,
        "pictures": len(ids),
        "ids_sha256": fingerprint(ids),
        "texts_sha256": fingerprint([caption.text for caption in chosen]),
        "ids": ids,
    }


def _verify_or_write(frozen: dict[str, Any], manifest: Path, path: Path) -> None:
    if not manifest.exists():
        manifest.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(manifest, (json.dumps(frozen) + "\n").encode())
        return
    try:
        recorded = read_json(manifest, "restore it")
        differing = next((key for key in frozen if recorded[key] != frozen[key]), None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"COCO manifest {manifest} cannot be read ({type(error).__name__}: {error}); restore it"
        ) from error
    if differing:
        values = [str(values[differing])[:60] for values in (recorded, frozen)]
        raise UserError(
            f"COCO manifest {manifest}: {differing} is {values[0]}, {path} gives {values[1]}; use the captions from "
            "which it was made, or another prompts.manifest"
        )
