"""The prompts of FID-30K (Imagen, section 4.1): captions of COCO's validation set of 2014, chosen by a rule that can be
repeated anywhere, frozen in a manifest of ids. The captions are the user's own copy; no text of them is shipped."""

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

    No generator of random numbers is involved, so the choice is the same in any language and version, and 10,000
    prompts are the beginning of 30,000. `manifest` is written at first use, with the ids and the hash of the texts;
    from then on the file must give the same.

    Raises:
        UserError: when the file has not `images` pictures with captions and `captions` captions (40,504 and 202,654 in
            the published one), or does not agree with the manifest.
    """
    path, manifest = user_path(path), user_path(manifest)
    found = _read(path)
    pictures = len({caption.image for caption in found})
    if (pictures, len(found)) != (images, captions):
        raise UserError(
            f"COCO captions {path} are {len(found)} of {pictures} pictures, those of captions_val2014.json {captions} "
            f"of {images}; use prompts=file for prompts of your own"
        )
    if not 1 <= count <= images:
        raise UserError(f"COCO has {images} pictures with captions; prompts.count is {count}")
    chosen = choose(found)
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
            f"COCO manifest {manifest}: {differing} is {values[0]}, {path} gives {values[1]}; use the captions that it "
            "was made from, or another prompts.manifest"
        )
