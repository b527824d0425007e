"""Types of a configuration's plain values, by key; arguments of objects are checked by `imagen.instantiation`."""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from omegaconf import DictConfig, OmegaConf

from imagen.checks.arguments import AtLeast, Count, Natural, described, fits
from imagen.errors import UserError

MaybeCount: TypeAlias = Count | None

NUMBERS = {
    "seed": int,
    "count": MaybeCount,
    "compile": bool,
    "resolutions": Sequence[Count],
    "text_features": Count,
    "overwrite": bool,
    "traceback": bool,
    "cascade.batch_size": Count,
    "cascade.seed": int,
    "cascade.aug_level": float,
    "cascade.device": str,
    "cascade.precision": str,
    "cascade.weights": str,
    "cascade.stop_at": str | None,
    "cascade.stages": str | Sequence[str] | None,  # a lone text is refused later, by a line that asks for a list
    "plugins": Sequence[str],
    "prompts_file": str | None,
    "embeddings": str | None,
    "format": str,
    "shard_size": Count,
    "paths.runs": str,
    "paths.cache": str,
    "paths.outputs": str,
    "paths.assets": str,
    "guidance_weights": float | Sequence[float],
    "base_guidance": float,
    "sr_guidance": float,
    "block_size": Count,
    "budget": MaybeCount,
    "first_pass": Count,
    "pictures_per_prompt": Count,
    "processes": Count,
    "grid_prompts": Natural,
    "strips.prompts": Natural,
    "strips.moments": Count,
    "across_worlds": bool,
    "steps": Annotated[int, AtLeast(3)],  # of a judge; its learning rate rises and falls
    "image_size": Count,
    "vocabulary": Count,
    "max_pictures": Count,
    "device": str,
    "precision": str,
}
"""The type of each value that is not handed to a constructor by the gate, in any of the entry points."""

_ABSENT = object()


def check_numbers(config: DictConfig) -> None:
    """Check the values in `config` against `NUMBERS`.

    Raises:
        UserError: naming the key, its value and what it must be.
    """
    for key, hint in NUMBERS.items():
        node = OmegaConf.select(config, key, default=_ABSENT)
        value = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        if value is not _ABSENT and not fits(value, hint):
            raise UserError(f"{key}={value!r:.120} must be {described(hint)}")
