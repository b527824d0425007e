"""The text encoder of published stages, and the vectors of the empty prompt, which stand for "no text"."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save

from imagen.errors import UserError
from imagen.files import fingerprint, read_tensors, root, write_atomically
from imagen.instantiation import TEXT_SOURCE, instantiate_saved_text
from imagen.tensors import Text
from imagen.text.deepfloyd.encoder import DeepFloydEncoder, is_pipeline
from imagen.text.record import record_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedText:
    """The `text` section of published stages, as an export would record it."""

    section: Mapping[str, Any]

    @classmethod
    def of(
        cls, choice: Mapping[str, Any], folders: Sequence[Path], records: Sequence[Mapping[str, Any]] = ()
    ) -> "PublishedText":
        """The text source that the user chose (`text=deepfloyd`), or else the T5 that came with one of `folders`.

        Args:
            choice: a resolved `text` section; without a `_target_`, only where the encoder is: `encoder.path`.
            folders: of the stages, the first with a T5 counts.
            records: of the text sources of exported stages beside them, which are taken where none has one.

        Raises:
            UserError: if there is no T5, or the section describes another encoder.
        """
        if "_target_" in choice:
            return cls(record_of(choice))
        path = (choice.get("encoder") or {}).get("path") or next(
            (str(one) for one in folders if is_pipeline(one)), None
        )
        if path is None and records:
            return cls(records[0])
        if path is None:
            raise UserError(
                f"{folders[0]}: no text_encoder folder, and the stage was trained on one: fetch it, or say where it is "
                "with text.encoder.path=FOLDER"
            )
        kind = f"{DeepFloydEncoder.__module__}.{DeepFloydEncoder.__qualname__}"
        encoder = {"_target_": kind, "path": path, "device": "auto", "local_files_only": True}
        features = DeepFloydEncoder(path).features
        return cls(record_of({"_target_": TEXT_SOURCE, "mode": "online", "features": features, "encoder": encoder}))

    @cached_property
    def encoder(self) -> DeepFloydEncoder:
        encoder = instantiate_saved_text(self.section.get("encoder"), "text.encoder")
        if not isinstance(encoder, DeepFloydEncoder):
            raise UserError(f"text names a {type(encoder).__name__}; published stages read text=deepfloyd")
        return encoder

    @cached_property
    def fingerprint(self) -> dict[str, str | int]:
        """Of the text source: that of its encoder."""
        return self.encoder.fingerprint

    @cached_property
    def empty_prompt(self) -> Text:
        """T5's vectors of "", (1, tokens, features); kept in cache/empty_prompts, since T5 is large."""
        path = root() / "cache" / "empty_prompts" / f"{fingerprint(self.fingerprint)[:32]}.safetensors"
        with suppress(OSError, SafetensorError, KeyError):
            return read_tensors(path)[1]["empty_prompt"]
        vectors = self.encoder.empty_prompt()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, save({"empty_prompt": vectors.contiguous()}))
        except (OSError, UserError) as error:
            log.warning("%s could not be written (%s): T5 will be asked for the empty prompt again", path, error)
        return vectors
