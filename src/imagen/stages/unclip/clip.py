"""The CLIP model whose vectors an unCLIP cascade passes on. Frozen; no part of any stage's weights."""

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from imagen.checks.arguments import Count
from imagen.clip.preprocessing import ClipPreprocessing, clip_fingerprint
from imagen.clip.towers import PICKLED, caption_vectors, files_of, load_towers, picture_vectors
from imagen.data.pixels import rounded
from imagen.devices import moved
from imagen.diffusion.unclip.vectors import VectorSignal
from imagen.errors import UserError
from imagen.fetching.lock import models_folder
from imagen.files import user_path
from imagen.places import ROOT
from imagen.tensors import Images, Vectors
from imagen.text.model_files import hashes_by_name
from imagen.text.tokens import is_empty


class FrozenClip:
    """Vectors of pictures and captions, of length sqrt(`features`), so that the mean square of their numbers is 1.

    The files are read when the first vector is asked for. They are the same ones in training and in sampling: an
    export keeps `sha256`.

    Args:
        path: folder of a CLIPModel with its tokenizer and its image processor's configuration.
        features: of its projection; the networks are built for them.
        sha256: of its files together; None: whatever is there.
    """

    def __init__(self, path: str, features: Count, sha256: str | None = None) -> None:
        self.path, self.features, self._expected = path, features, sha256

    @property
    def recorded_sha256(self) -> str:
        """That of the record if there is one, without looking at the files."""
        return self._expected or self.sha256

    @cached_property
    def sha256(self) -> str:
        """Of all files together.

        Raises:
            UserError: if they are not on this machine, or not those of the stage.
        """
        hashes = hashes_by_name(files_of(self._folder, "CLIP"))
        if PICKLED in hashes:  # an export names the folder, and may be a stranger's
            raise UserError(
                f"CLIP {self._folder} has its weights in {PICKLED}, and only safetensors are read: convert them once "
                f"with `imagen convert {self._folder}`"
            )
        found = clip_fingerprint(hashes, self._preprocessing)
        if self._expected is not None and found != self._expected:
            raise UserError(
                f"CLIP {self._folder}: its files have the fingerprint {found:.12}…, and the stage was trained with "
                f"{self._expected:.12}…: put those back"
            )
        return found

    def pictures(self, images: Images) -> VectorSignal:
        """Of pictures in [-1, 1] of any size, on their device, which nothing waits for. They are rounded to pixels, as
        judges see them, and must be finite.

        Raises:
            UserError: for files that are missing, or others than the stage was trained with.
        """
        if images.device.type == "meta":
            return self._shape_of(len(images))
        with torch.autocast(images.device.type, enabled=False):
            vectors = picture_vectors(self._model_on(images.device), self._preprocessing, rounded(images.detach()))
        return VectorSignal.of(self._scaled(vectors))

    def captions(self, captions: Sequence[str], device: torch.device | str = "cpu") -> VectorSignal:
        """Of captions. Those without text have none.

        Raises:
            UserError: as `pictures`.
        """
        device = torch.device(device)
        if device.type == "meta":
            return self._shape_of(len(captions))
        with torch.autocast(device.type, enabled=False):
            vectors = caption_vectors(self._model_on(device), self._towers[1], captions)
        empty = torch.tensor([is_empty(caption) for caption in captions])
        return VectorSignal.of(self._scaled(vectors)).drop(moved(empty, device))

    def _shape_of(self, count: int) -> VectorSignal:
        """Vectors that are not computed. The files are looked at."""
        _ = self._towers
        return VectorSignal.of(torch.zeros(count, self.features, device="meta"))

    def _scaled(self, vectors: Vectors) -> Vectors:
        return math.sqrt(self.features) * torch.nn.functional.normalize(vectors, dim=1)

    @cached_property
    def _folder(self) -> Path:
        """Where the files are: the recorded place, or a folder of that name among the models and assets here."""
        recorded = user_path(self.path)
        here = [models_folder() / recorded.name, ROOT / "assets" / recorded.name]
        return next((folder for folder in (recorded, *here) if folder.is_dir()), recorded)

    @cached_property
    def _preprocessing(self) -> ClipPreprocessing:
        return ClipPreprocessing.from_folder(self._folder)

    @cached_property
    def _towers(self) -> tuple[Any, Any]:
        _ = self.sha256
        model, tokenizer = load_towers(self._folder, "CLIP")
        config: Any = model.config
        given = config.projection_dim
        if given != self.features:
            raise UserError(f"CLIP {self._folder} gives vectors of {given} features, and features={self.features}")
        return model, tokenizer

    def _model_on(self, device: torch.device) -> Any:
        return self._towers[0].to(device)
