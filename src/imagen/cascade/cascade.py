"""A cascade of trained stages."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import index
from typing import Protocol, SupportsIndex, runtime_checkable

import torch

from imagen.cascade.embeddings import FromPrior
from imagen.cascade.prior import check_embedding, check_prior, clip_of, is_prior
from imagen.cascade.settings import SamplingSettings, evaluations, size_of
from imagen.cascade.stage import Watch, passes, sample_images, takes_variance
from imagen.diffusion.conditioning import Conditioning, ImageSignal, TextSignal
from imagen.diffusion.corrections import Correction
from imagen.diffusion.guidance import Guidance, PerSignalGuidance
from imagen.diffusion.unclip.vectors import PICTURE_EMBEDDING
from imagen.errors import UserError
from imagen.randomness import make_generator
from imagen.stages.distillation.record import warn_of_another_sampler
from imagen.stages.export import TrainedStage
from imagen.tensors import Images
from imagen.text.record import differences


@runtime_checkable
class GuidanceOfAStage(Guidance, Protocol):
    """A rule that serves some stages and not others."""

    def check_stage(self, stage: TrainedStage) -> None:
        """Raises UserError if the rule cannot guide `stage`."""
        ...


TEXT_MULTIPLE = 32
"""Captions are padded to a multiple of this number of tokens. A softmax in bfloat16 on a CPU sums the last keys, which
do not fill a vector, in another order. Without padding a picture would depend on the longest caption of its batch."""


@dataclass(frozen=True)
class Cascade:
    """Stages in order, smallest first.

    Args:
        stages: those that make pictures.
        prior: of unCLIP: draws the embedding that the first stage reads. None: it reads none, or is given it.

    Raises:
        UserError: if the stages do not fit together: the first needs an input image, sizes do not match, text
            encoders differ, two stages have the same name, or the prior's vectors are not those that are read.
    """

    stages: Sequence[TrainedStage]
    prior: TrainedStage | None = None

    @classmethod
    def of(cls, stages: Sequence[TrainedStage]) -> "Cascade":
        """Of stages in order, the prior first if there is one."""
        if stages and is_prior(stages[0]):
            if len(stages) == 1:
                raise UserError("a prior makes no pictures: give the stage that draws its embeddings as well")
            return cls(stages[1:], stages[0])
        return cls(stages)

    def __post_init__(self) -> None:
        if not self.stages:
            raise UserError("a cascade needs at least one stage; train one with python train.py stage=base")
        if self.prior is not None:
            check_prior(self.prior, self.stages[0])
        size_before = None
        for stage in self.stages:
            this = stage.description
            if this.low_resolution != size_before:
                low = this.low_resolution
                wants = "no input image" if low is None else f"input images of {low} × {low}"
                gets = "no stage" if size_before is None else f"a stage of {size_before} × {size_before}"
                raise UserError(
                    f"stage {this.name!r} expects {wants} but follows {gets}: choose stages that fit together"
                )
            first = self.stages[0].description
            if this.text != first.text and not _reads_no_text(stage):
                raise UserError(
                    f"stages {first.name!r} and {this.name!r} were trained on different text encoders "
                    f"({differences(first.text, this.text, ' and ')}): choose stages of one"
                )
            size_before = this.resolution
        names = [stage.description.name for stage in self.stages]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"two stages are called {name!r}, which names their pictures: leave one out")

    @torch.inference_mode()
    def sample(
        self,
        given: Conditioning,
        seed: int | Sequence[int],
        picture_ids: Collection[SupportsIndex],
        settings: Sequence[SamplingSettings],
        first: int = 0,
        corrections: Sequence[Correction | None] | None = None,
        watch: Watch | None = None,
    ) -> list[Images]:
        """The pictures of every stage that is run, smallest first, in [-1, 1].

        Picture i depends on (its seed, `picture_ids[i]`), its own row of `given` and its own correction alone, whatever
        else is in the batch, to the rounding of the hardware (docs/reference/reliability.md).

        Args:
            given: what the conditioners of the stages build their signals from, one row for each picture: `text`;
                `smaller`, the pictures of stage number `first` - 1, to continue from them; `start`, the pictures that
                a `strength` below 1 begins with, resized to each stage; `caption_embedding` or `looked_at`, if the
                embedding of the first stage is made of it.
            seed: of the whole run, or one for each picture.
            picture_ids: number of each picture in the run.
            settings: one for each stage; fewer than there are stages stops early.
            first: number of the first stage to run. The pictures are those of a run of all stages.
            corrections: one for each picture, for every stage; None: no picture is corrected.
            watch: called after every evaluation of a denoiser.

        Raises:
            UserError: if `given` or `corrections` are not one for each picture, a stage misses a signal, or the sizes
                of the settings are not those of a cascade.
        """
        per_picture = given if corrections is None else {**given, "corrections": corrections}
        for name, rows in per_picture.items():
            if len(rows) != len(picture_ids):
                raise UserError(f"{name}: {len(rows)} rows for {len(picture_ids)} pictures; give one for each")
        if "text" in given:
            given = Conditioning(given, text=given["text"].padded(TEXT_MULTIPLE))
        self.check(settings, first)
        seeds = [seed] * len(picture_ids) if isinstance(seed, int) else seed
        keys = list(zip(seeds, map(index, picture_ids), strict=True))  # a NumPy integer would be another key
        clip = clip_of(self.stages[0])
        if first == 0 and clip is not None and (embedding := settings[0].embedding) is not None:
            given = Conditioning(given, **{PICTURE_EMBEDDING: embedding(given, clip, self.prior, keys)})
        pictures: list[Images] = []
        for stage, one in zip(self.stages[first : len(settings)], settings[first:], strict=True):
            generators = [make_generator(own, "picture", i, stage.model.name) for own, i in keys]
            told = _without_text(given, stage) if _reads_no_text(stage) else given
            pictures.append(sample_images(stage.model, told, one, generators, corrections, watch))
            given = Conditioning(given, smaller=ImageSignal(pictures[-1]))
        return pictures

    def check(self, settings: Sequence[SamplingSettings], first: int = 0) -> None:
        """Look at settings before any picture is made; a student that is sampled otherwise than it was made for gets a
        line in the log.

        Raises:
            UserError: if the sizes are not those of a cascade, a stage cannot be guided so, or the first stage reads an
                embedding that nothing gives it.
        """
        self._check_sizes(settings)
        if first == 0:
            check_embedding(self.stages[0], self.prior, settings[0].embedding)
        for stage, one in list(zip(self.stages, settings, strict=False))[first:]:
            name = stage.description.name
            if isinstance(one.guidance, GuidanceOfAStage):
                one.guidance.check_stage(stage)
            if takes_variance(one):
                _check_variance(stage, one)
            try:
                stage.model.conditioner.rule(one.guidance)
            except UserError as error:
                raise UserError(f"stage {name!r}: {error}") from None
            warn_of_another_sampler(stage.description.made_for, name, one.sampler)

    def evaluations(self, settings: Sequence[SamplingSettings], first: int = 0) -> int:
        """Number of denoiser evaluations of a batch: calls of `watch`."""
        stages = zip(self.stages[first:], settings[first:], strict=False)
        return sum(evaluations(stage.model, one) for stage, one in stages)

    def passes(self, settings: Sequence[SamplingSettings]) -> dict[str, int | None]:
        """By the name of the stage, the network passes for one picture; None where the guidance rule does not say."""
        stages = zip(self.stages, settings, strict=False)
        counted = {stage.model.name: passes(stage.model, one) for stage, one in stages}
        if self.prior is not None and isinstance(embedding := settings[0].embedding, FromPrior):
            return {self.prior.model.name: embedding.passes(self.prior), **counted}
        return counted

    def _check_sizes(self, settings: Sequence[SamplingSettings]) -> None:
        """Raises UserError unless every stage makes pictures `factor` times as large as the stage before."""
        sizes = [size_of(stage.model, one) for stage, one in zip(self.stages, settings, strict=False)]
        for stage, (height, width), large in zip(self.stages[1:], sizes, sizes[1:], strict=False):
            factor = stage.model.conditioner.factor
            if large != (height * factor, width * factor):
                raise UserError(
                    f"stage {stage.description.name!r} cannot make {large[0]} × {large[1]} from {height} × {width}: it "
                    f"enlarges {factor} times; choose sizes that fit together"
                )


def _check_variance(stage: TrainedStage, settings: SamplingSettings) -> None:
    """Raises UserError unless the sampler can take the variance of its steps from the stage's network."""
    name = stage.description.name
    if not stage.model.denoiser.learned_variance:
        raise UserError(
            f"stage {name!r} says no variance: sampler.learned_variance=true is for stages as they were published by "
            "DeepFloyd; set it to false"
        )
    if settings.tile_overlap is not None or isinstance(settings.guidance, PerSignalGuidance):
        raise UserError(
            f"stage {name!r}: sampler.learned_variance=true does not go with tile_overlap, nor with guidance per "
            "signal; set it to false"
        )


def _reads_no_text(stage: TrainedStage) -> bool:
    """Whether the stage was trained without captions (`NoText`): it goes behind stages of any text encoder."""
    return (stage.description.text or {}).get("model") == "none"


def _without_text(given: Conditioning, stage: TrainedStage) -> Conditioning:
    """`given`, with the null text as wide as the stage reads it."""
    features = (stage.description.text or {})["features"]
    values, mask = (tensor.new_zeros(len(tensor), 1) for tensor in (given["text"].values, given["text"].mask))
    return Conditioning(given, text=TextSignal(values[..., None].expand(-1, 1, features), mask))
