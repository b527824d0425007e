"""What the two stages of unCLIP are told: the decoder a picture's embedding, the prior what it must draw one from."""

from collections.abc import Sequence
from dataclasses import is_dataclass, replace
from typing import Any

import torch

from imagen.data.batch import Batch
from imagen.devices import moved
from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.guidance import Guidance
from imagen.diffusion.unclip.vectors import CAPTION_EMBEDDING, PICTURE_EMBEDDING, VectorSignal
from imagen.errors import UserError
from imagen.stages.conditioners import AddedSignal, Conditioner
from imagen.stages.unclip.clip import FrozenClip
from imagen.tensors import Images, Size


class PictureEmbeddingConditioner(AddedSignal):
    """What another conditioner tells, and the signal `picture_embedding`: for unCLIP's decoder (section 2.1).

    The network must read it: `picture_embedding` is the number of features. Guidance compares with an estimate that
    lacks caption and embedding.

    Args:
        others: conditioner of all other signals.
        clip: whose vectors they are.
        dropout: share of the training pictures without a vector, in [0, 1], drawn apart from dropped captions.

    Raises:
        UserError: if `dropout` is out of range.
    """

    def __init__(self, others: Conditioner, clip: FrozenClip, dropout: float = 0.1) -> None:
        if not 0 <= dropout <= 1:
            raise UserError(f"dropout={dropout} of the picture's embedding must be in [0, 1]")
        super().__init__(others)
        self.clip, self.dropout, self.looks_at = clip, dropout, True

    def given(self, batch: Batch) -> Conditioning:
        """With the vectors of the pictures themselves."""
        return Conditioning(super().given(batch), **{PICTURE_EMBEDDING: self.clip.pictures(large_of(batch))})

    def for_training(self, batch: Batch, generator: torch.Generator) -> Conditioning:
        others = self.others.for_training(batch, generator)
        drop = moved(torch.rand(len(batch.images), generator=generator) < self.dropout, batch.images.device)
        return Conditioning(others, **{PICTURE_EMBEDDING: self.clip.pictures(large_of(batch)).drop(drop)})

    def for_validation(self, batch: Batch, generator: torch.Generator) -> Conditioning:
        others = self.others.for_validation(batch, generator)
        return Conditioning(others, **{PICTURE_EMBEDDING: self.clip.pictures(large_of(batch))})

    def for_sampling(
        self, given: Conditioning, size: Size, aug_level: float, generators: Sequence[torch.Generator]
    ) -> Conditioning:
        others = self.others.for_sampling(given, size, aug_level, generators)
        return Conditioning(others, **{PICTURE_EMBEDDING: given[PICTURE_EMBEDDING]})

    def rule(self, guidance: Guidance) -> Guidance:
        return without_both(self.others.rule(guidance), PICTURE_EMBEDDING)


class PriorConditioner(Conditioner):
    """The caption as tokens and as a vector, of which unCLIP's prior (section 2.2) draws the vector of a picture.

    A vector is an image of one pixel and `clip.features` channels.

    Args:
        clip: whose vectors they are.
    """

    caption_signals = ("text", CAPTION_EMBEDDING)
    looks_at = True

    def __init__(self, clip: FrozenClip) -> None:
        self.clip, self.channels = clip, clip.features

    def target(self, batch: Batch) -> Images:
        """The vectors of the pictures, of shape (batch, features, 1, 1)."""
        return self.clip.pictures(large_of(batch)).values[:, :, None, None]

    def given(self, batch: Batch) -> Conditioning:
        caption = self.clip.captions(batch.captions, batch.images.device)
        return Conditioning(super().given(batch), **{CAPTION_EMBEDDING: caption})

    def for_training(self, batch: Batch, generator: torch.Generator) -> Conditioning:
        return self.given(batch)

    def for_sampling(
        self, given: Conditioning, size: Size, aug_level: float, generators: Sequence[torch.Generator]
    ) -> Conditioning:
        caption: VectorSignal = given[CAPTION_EMBEDDING]
        return Conditioning(text=given["text"], **{CAPTION_EMBEDDING: caption})

    def rule(self, guidance: Guidance) -> Guidance:
        return without_both(guidance, CAPTION_EMBEDDING)


def without_both(guidance: Guidance, name: str) -> Guidance:
    """A rule that compares with an estimate without the caption, made to compare with one that lacks the signal `name`
    too; another rule as it is."""
    rule: Any = guidance
    if is_dataclass(guidance) and tuple(getattr(guidance, "without", ())) == ("text",):
        return replace(rule, without=("text", name))
    return guidance


def large_of(batch: Batch) -> Images:
    """The pictures that CLIP looks at. Raises UserError if the batch does not hold them."""
    if batch.large is None:
        raise UserError(
            "the stage looks at pictures before they are reduced, and the batch holds none: set keep_large of the "
            "DataModule, or Batch.large"
        )
    return batch.large
