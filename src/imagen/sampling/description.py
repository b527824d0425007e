"""All that the pictures of a stage depend on, in plain values: for cache keys, and for the metadata of pictures."""

from collections.abc import Mapping
from typing import Any

from imagen.cascade.settings import SamplingSettings
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
