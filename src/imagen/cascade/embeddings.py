"""Where the embedding comes from that unCLIP's decoder draws a picture of."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from imagen.cascade.embedding_source import EmbeddingSource, PictureKey
from imagen.cascade.settings import SamplingSettings
from imagen.cascade.stage import passes, sample_images
from imagen.checks.arguments import Count, described, fits
from imagen.diffusion.conditioning import Conditioning, ImageSignal
from imagen.diffusion.guidance import ClassifierFreeGuidance
from imagen.diffusion.samplers import DPMSolverPP2M, Sampler
from imagen.diffusion.thresholding import NoThresholding
from imagen.diffusion.unclip.vectors import CAPTION_EMBEDDING, VectorSignal
from imagen.errors import UserError
from imagen.randomness import make_generator
from imagen.stages.export import TrainedStage
from imagen.stages.unclip.clip import FrozenClip

LOOKED_AT = "looked_at"
"""The signal that holds pictures whose embeddings are taken."""


@dataclass(frozen=True)
class FromPrior(EmbeddingSource):
    """Drawn by the prior (unCLIP, section 2.2): of `draws` vectors the one that is most like the caption's.

    Args:
        weight: of classifier-free guidance in the prior; 1 is off.
        sampler: of the vectors, which are not thresholded.
        draws: number of vectors that are drawn for each picture; the paper draws 2.

    Raises:
        UserError: for a weight or a number out of range.
    """

    weight: float | int = 1.0
    sampler: Sampler = field(default_factory=lambda: DPMSolverPP2M(num_steps=16))
    draws: int = 2

    def __post_init__(self) -> None:
        if not fits(self.draws, Count):
            raise UserError(f"draws={self.draws} of the prior must be {described(Count)}")
        ClassifierFreeGuidance(self.weight)

    def __call__(
        self, given: Conditioning, clip: FrozenClip, prior: TrainedStage | None, keys: Sequence[PictureKey]
    ) -> VectorSignal:
        assert prior is not None  # `check_embedding`
        settings = self._settings
        drawn = []
        for draw in range(self.draws):
            generators = [make_generator(*key, prior.model.name, draw) for key in keys]
            drawn.append(sample_images(prior.model, given, settings, generators).flatten(1))
        vectors = torch.stack(drawn)  # (draws, batch, features)
        caption: VectorSignal = given[CAPTION_EMBEDDING]
        likest = (vectors * caption.values.to(vectors)).sum(dim=-1).argmax(dim=0)
        return VectorSignal.of(vectors[likest, torch.arange(len(likest), device=likest.device)])

    @property
    def _settings(self) -> SamplingSettings:
        return SamplingSettings(self.sampler, ClassifierFreeGuidance(self.weight), NoThresholding())

    def passes(self, prior: TrainedStage) -> int:
        """Passes of the prior's network for one picture."""
        return self.draws * (passes(prior.model, self._settings) or 0)


@dataclass(frozen=True)
class FromCaption(EmbeddingSource):
    """The vector of the caption in the place of a picture's. CLIP trains the two to be alike, and they are not the
    same: no picture that the decoder was trained on had such a vector."""

    def __call__(
        self, given: Conditioning, clip: FrozenClip, prior: TrainedStage | None, keys: Sequence[PictureKey]
    ) -> VectorSignal:
        return given[CAPTION_EMBEDDING]


@dataclass(frozen=True)
class FromPicture(EmbeddingSource):
    """The vector of a picture that is given, the signal `looked_at`: the decoder draws variations of it."""

    reads_captions = False

    def __call__(
        self, given: Conditioning, clip: FrozenClip, prior: TrainedStage | None, keys: Sequence[PictureKey]
    ) -> VectorSignal:
        looked_at: ImageSignal = given[LOOKED_AT]
        return clip.pictures(looked_at.images)
