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
        "stage_sha256": fingerprint(stage.identity),
        "weights_sha256": stage.weights_sha256,  # part of it, for the reader
        **every,
        **described,
    } | ({} if stage.low_resolution is None else {"aug_level": aug_level})  # a base stage ignores it
