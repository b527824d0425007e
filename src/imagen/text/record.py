"""How a text source is built, as data that travels with the weights of a stage.

A run saves the `text` section of its configuration. An export records the part of it that sampling needs: which encoder
it is and where its files were, and neither the embedding cache nor how the captions of the data set were encoded.
"""

import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from imagen.checks.names import is_name
from imagen.errors import UserError
from imagen.fetching.absent import how_to_fetch, published_model
from imagen.fetching.lock import models_folder
from imagen.files import user_path
from imagen.instantiation import instantiate_saved_text
from imagen.places import ROOT
from imagen.text.model_files import MissingModelError, is_folder
from imagen.text.sources import TextSource

WHEN_SAMPLING = {"batch_size": 1, "device": "auto", "local_files_only": True}
"""Arguments of an encoder. One caption at a time: beside others its vectors would be rounded differently, and its
picture would depend on its neighbours."""

IN_THE_PROJECT = "./"
"""Prefix of recorded paths relative to the project folder; no hub name starts with it."""


def for_sampling(section: Mapping[str, Any]) -> dict[str, Any]:
    """The `text` section of a configuration, changed to encode a few captions on any machine: without the embedding
    cache, one caption at a time, offline."""
    text = dict(section)
    if "mode" in text:
        text["mode"] = "online"
        text.pop("folder", None)
        text.pop("processes", None)
    encoder = text.get("encoder")
    if isinstance(encoder, Mapping):
        text["encoder"] = {**encoder, **{name: value for name, value in WHEN_SAMPLING.items() if name in encoder}}
    return text


def record_of(section: Mapping[str, Any]) -> dict[str, Any]:
    """What an export records of the resolved `text` section of a configuration.

    A folder below the project's own is recorded relative to it, so that a clone of the project finds its own copy.
    """
    text = for_sampling(section)
    path = path_in(text)
    return text if path is None else with_path(text, _portable(path))


def build_source(section: Mapping[str, Any], where: str) -> TextSource:
    """The text source that a section describes, which came with somebody's weights; `where` is its place in the file.

    Raises:
        UserError: if it names anything outside `imagen.text`, describes no text source, or cannot be built.
    """
    source = instantiate_saved_text(section, where)
    if not isinstance(source, TextSource):
        raise UserError(f"{where} describes a {type(source).__name__}, no text source; restore the file")
    return source


def path_in(section: Mapping[str, Any]) -> str | None:
    """Where a section says the encoder's files are; None for an encoder that has none."""
    encoder = section.get("encoder")
    path = encoder.get("path") if isinstance(encoder, Mapping) else None
    return path if isinstance(path, str) and path else None


def with_path(section: Mapping[str, Any], path: str, **changes: Any) -> dict[str, Any]:
    """The section with another path of its encoder, and other `changes` to it."""
    return {**section, "encoder": {**section["encoder"], "path": path, **changes}}


def places_of(path: str) -> list[str]:
    """Where the encoder that a record calls `path` may be on this machine, the recorded place first.

    A folder that is not where it was recorded, and a model of the hub, are looked for by their name in models/ and
    assets/ of the project too. A name on the hub is always among them, whether the model was fetched or not.

    Raises:
        MissingModelError: if there is none: naming the folder, where it was looked for, and how to get it.
    """
    recorded = str(ROOT / path) if path.startswith(IN_THE_PROJECT) else path
    name = PurePath(os.path.normpath(recorded)).name
    by_name = [models_folder() / name, ROOT / "assets" / name] if is_name(name) else []
    first = [recorded] if _may_be_on_the_hub(path) or is_folder(recorded) else []
    places = list(dict.fromkeys([*first, *(str(folder) for folder in by_name if is_folder(folder))]))
    if not places:
        fetch = f"fetch it once with {how_to_fetch(name)}, or " if published_model(name) else ""
        looked_for = f", and no {name} in {' or '.join(str(folder.parent) for folder in by_name)}" if by_name else ""
        raise MissingModelError(
            f"text encoder {recorded} is not on this machine (no such folder{looked_for}): {fetch}say where it is with "
            "text.encoder.path=FOLDER"
        )
    return places


def name_of(section: Mapping[str, Any]) -> str:
    """What to call the text source of a section: the path of its encoder, or its class where it has no files."""
    path = path_in(section)
    if path is not None:
        return path
    encoder = section.get("encoder")
    node = encoder if isinstance(encoder, Mapping) else section
    return str(node.get("_target_")).rsplit(".", 1)[-1]


def differences(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None, between: str = ", here ") -> str:
    """What differs between the fingerprints of two text sources, such as "max_length: 128, here 64"."""
    one, other = one or {}, other or {}
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    # Encoders of two kinds have other settings too; which models they are says enough.
    of_both = [name for name in names if name == "model" or (name in one and name in other)]
    return "; ".join(f"{name}: {_short(one.get(name))}{between}{_short(other.get(name))}" for name in of_both or names)


def _short(value: object) -> str:
    """A hash by its first twelve digits."""
    text = f"{value:.60}" if isinstance(value, str) else f"{value!r:.60}"
    return f"{text[:12]}…" if isinstance(value, str) and len(text) > 40 else text


def _may_be_on_the_hub(path: str) -> bool:
    return path.count("/") <= 1 and not path.startswith((".", "/", "~"))


def _portable(path: str) -> str:
    """The absolute path of a folder, or its path below the project's own; a name on the model hub stays as it is."""
    folder = user_path(path)
    if not folder.is_absolute() and not is_folder(folder):
        return path
    folder = Path(os.path.normpath(folder.absolute()))
    return f"{IN_THE_PROJECT}{folder.relative_to(ROOT)}" if folder.is_relative_to(ROOT) else str(folder)
