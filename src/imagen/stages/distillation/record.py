"""What the export of a student says of its distillation."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from imagen.checks.arguments import Count, fits
from imagen.checks.foreign import checked_record
from imagen.diffusion.samplers import Sampler
from imagen.errors import UserError
from imagen.instantiation import configuration_of

log = logging.getLogger(__name__)

DDIM = "imagen.diffusion.samplers.DDIMSampler"
UNIFORM_TIME = {"_target_": "imagen.diffusion.spacing.UniformTime"}


@dataclass(frozen=True)
class Distilled:
    """Plain values; those of the training run.

    Args:
        teacher: sha256 of the weights of the stage that was taught from.
        up_to: the largest guidance weight that the student was told.
        steps: of DDIM, that the student was made for; None: its guided estimates alone, for any sampler.
        spacing: configuration of the spacing of these steps; None with no steps.
        thresholding: configuration of that of the teacher's estimates.
    """

    teacher: str
    up_to: float
    steps: int | None
    spacing: dict[str, Any] | None
    thresholding: dict[str, Any]

    @classmethod
    def from_record(cls, record: object, where: str, way_out: str) -> "Distilled":
        """The same from JSON, which may be a stranger's. `where` begins the error message, `way_out` ends it.

        Raises:
            UserError: for a field that is missing, unknown or of a wrong type.
        """
        distilled = checked_record(cls, record, where, way_out)
        if distilled.steps is not None and not fits(distilled.steps, Count):
            raise UserError(f"{where}: steps is {distilled.steps}, expected at least 1 or null; {way_out}")
        return distilled

    def as_record(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def sampler(self) -> dict[str, Any] | None:
        """Configuration of the sampler that the student was made for; None: any."""
        return None if self.steps is None else {"_target_": DDIM, "num_steps": self.steps, "spacing": self.spacing}

    def overrides(self, role: str) -> list[str]:
        """What chooses that sampler for the stage `role` on the command line of sample.py."""
        if self.steps is None:
            return []
        prefix = f"sampling.{role}.sampler"
        chosen = [f"{prefix}=ddim", f"{prefix}.num_steps={self.steps}"]
        return chosen if self.spacing == UNIFORM_TIME else [*chosen, f"{prefix}.spacing={_in_hydra(self.spacing)}"]

    def __str__(self) -> str:
        made_for = "any sampler" if self.steps is None else f"{self.steps} steps of DDIM"
        return f"made for {made_for}, one pass each, and guidance weights of 1 to {self.up_to:g}"


def warn_of_another_sampler(distilled: Distilled | None, role: str, sampler: Sampler) -> None:
    """A line in the log, once, where a student is sampled otherwise than it was made for."""
    if distilled is not None and distilled.sampler not in (None, configuration_of(sampler)):
        _warn(role, distilled.steps, " ".join(distilled.overrides(role)))


@cache
def _warn(role: str, steps: int | None, overrides: str) -> None:
    log.warning("stage %r was distilled to %s steps of DDIM and is sampled in another way: %s", role, steps, overrides)


def _in_hydra(config: Mapping[str, Any] | None) -> str:
    return "{" + ", ".join(f"{name}: {value}" for name, value in (config or {}).items()) + "}"
