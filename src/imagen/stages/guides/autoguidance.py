"""Autoguidance: away from a weaker version of the same stage."""

from dataclasses import dataclass, field, replace
from functools import lru_cache

from imagen.diffusion.conditioning import Conditioning
from imagen.diffusion.guidance import ConditionalDenoise, check_guidance
from imagen.diffusion.noise_level import NoiseLevel
from imagen.diffusion.tiling import TiledDenoiser
from imagen.errors import UserError
from imagen.files import user_path
from imagen.stages.export import StageDescription, TrainedStage, load_stage, read_description
from imagen.tensors import Images

MUST_AGREE = ("resolution", "low_resolution", "text")
"""What a stage and its weaker version are told, and what they make."""


@dataclass(frozen=True)
class Autoguidance:
    """Autoguidance (Karras et al. 2024, 2406.02507, eq. 3), on x0.

        x0 = x0_weaker + weight (x0 - x0_weaker)

    Both estimates are told everything, the caption too. The weaker one comes from an earlier export of the same run, a
    smaller network, or both; the paper takes both. It costs a pass of its own network, none at a weight of 1.

    Args:
        weight: 1 is off.
        weaker: the folder of an exported stage with averaged weights, of the same size and the same text encoder.
        sha256: of its weights, so that other weights in that folder are another rule; None takes what is there.

    Raises:
        UserError: unless weight is finite and not negative; for a folder without a stage, and for other weights in it.
    """

    weight: float | int
    weaker: str
    sha256: str | None = field(default=None)

    def __post_init__(self) -> None:
        check_guidance(self.weight, rescale=0.0)
        found = self._description().weights_sha256
        if self.sha256 not in (None, found):
            raise UserError(
                f"guidance_rule.weaker={self.weaker}: its weights are {found[:12]}…, and sha256 is "
                f"{self.sha256:.12}…: give the folder of those weights, or leave sha256 out"
            )
        object.__setattr__(self, "sha256", found)

    def check_stage(self, stage: TrainedStage) -> None:
        """Raises UserError if the weaker stage is told other things than `stage`, or makes pictures of another size."""
        weaker = self._description()
        for name in MUST_AGREE:
            mine, other = getattr(stage.description, name), getattr(weaker, name)
            if mine != other:
                raise UserError(
                    f"guidance_rule.weaker={self.weaker}: its {name} is {other!r:.80}, that of the stage "
                    f"{stage.description.name!r} is {mine!r:.80}; give a weaker version of that stage, as "
                    f"sampling.{stage.description.name}.guidance_rule.weaker=..."
                )

    def __call__(
        self, denoiser: ConditionalDenoise, z: Images, level: NoiseLevel, conditioning: Conditioning
    ) -> Images:
        x0 = denoiser(z, level, conditioning)
        if self.weight == 1:
            return x0
        weaker: ConditionalDenoise = _loaded(self.weaker, str(self.sha256), str(z.device)).model.denoiser
        if isinstance(denoiser, TiledDenoiser):
            weaker = replace(denoiser, denoiser=weaker)
        return weaker(z, level, conditioning).lerp(x0, self.weight)

    def passes(self, log_snr: float) -> int:
        """See `imagen.diffusion.guidance.GuidanceWithPasses`: half of two are those of the weaker network."""
        del log_snr
        return 1 if self.weight == 1 else 2

    def _description(self) -> StageDescription:
        return read_description(user_path(self.weaker))


@lru_cache(maxsize=4)
def _loaded(folder: str, sha256: str, device: str) -> TrainedStage:
    """The stage in `folder`. `sha256` is part of the key: the folder may be written anew while this process lives."""
    stage = load_stage(user_path(folder), device)
    assert stage.description.weights_sha256 == sha256, f"{folder} was written anew while it was in use"
    return stage
