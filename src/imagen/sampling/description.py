"""All that the pictures of a stage depend on, in plain values: for cache keys, and for the metadata of pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

from imagen.cascade.cascade import Cascade
from imagen.cascade.embeddings import FromPrior
from imagen.cascade.settings import SamplingSettings
from imagen.cascade.stage import takes_variance
from imagen.files import fingerprint
from imagen.stages.export import StageDescription


def described_stage(stage: StageDescription, settings: SamplingSettings, every: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values: the stage, its settings, and `every`, what all stages have in common.

    Raises:
        UserError: for a sampler, guidance or thresholding that cannot be described.
    """
    described = settings.describe()
    aug_level = described.pop("aug_level")
    return {
        **identity_of(stage),
        **every,
        **described,
    } | ({} if stage.low_resolution is None else {"aug_level": aug_level})  # a base stage ignores it


def identity_of(stage: StageDescription) -> dict[str, str]:
    """Which stage it is."""
    # The weights are part of it, and stand there for the reader.
    return {"stage_sha256": fingerprint(stage.identity), "weights_sha256": stage.weights_sha256}


def described_stages(
    cascade: Cascade, settings: Sequence[SamplingSettings], every: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """`described_stage` of each stage that is run; whether the variance that its network says was used or dropped; of
    the first one also which prior it depends on."""
    stages = list(zip(cascade.stages, settings, strict=False))
    described = [described_stage(stage.description, one, every) for stage, one in stages]
    for (stage, one), facts in zip(stages, described, strict=True):
        if stage.model.denoiser.learned_variance:
            facts["learned_variance"] = "used" if takes_variance(one) else "dropped"
    if cascade.prior is not None and isinstance(settings[0].embedding, FromPrior):
        described[0]["prior"] = identity_of(cascade.prior.description)
    return described
