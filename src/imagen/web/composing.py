"""The configuration of sample.py, composed from the overrides that a command line would give."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from imagen.commandline.arguments import as_hydra_reads_them
from imagen.commandline.config_errors import check_configuration, explain
from imagen.errors import UserError
from imagen.places import ROOT
from imagen.sampling.command import ROLES

CONF, ENTRY = ROOT / "conf", "sample"

_hydra = Lock()
"""Hydra composes in a global state."""


@dataclass(frozen=True)
class How:
    """How the base stage, or the stages after it, are sampled."""

    sampler: str
    steps: int
    weight: float


@dataclass(frozen=True)
class Defaults:
    """What the form shows when a cascade is chosen. `own_weights`: roles to which its configuration gives a weight of
    their own, which `guidance_weights` does not change."""

    base: How
    others: How
    thresholding: str
    own_weights: tuple[str, ...]


def composed(overrides: Sequence[str]) -> DictConfig:
    """conf/sample.yaml with `overrides`, as `python sample.py` composes it.

    Raises:
        UserError: for what the command would refuse.
    """
    return _composed(overrides)[0]


@cache
def defaults_of(overrides: tuple[str, ...]) -> Defaults:
    """Of the cascade that `overrides` choose."""
    config, choices = _composed(overrides)
    own = {role: config.sampling[role].guidance_weight for role in ROLES}
    weights = list(config.guidance_weights)
    second = own[ROLES[1]] if own[ROLES[1]] is not None else weights[-1]
    return Defaults(
        How(choices["sampler"], config.sampler.num_steps, float(weights[0])),
        How(choices["sampler@sr_sampler"], config.sr_sampler.num_steps, float(second)),
        choices["thresholding"],
        tuple(role for role in ROLES if own[role] is not None),
    )


def options(group: str) -> list[str]:
    """The choices of a group of conf/."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@cache
def steps_of(sampler: str) -> int:
    """The number of steps that a sampler takes unless told otherwise."""
    return OmegaConf.load(CONF / "sampler" / f"{sampler}.yaml").num_steps


def _composed(overrides: Sequence[str]) -> tuple[DictConfig, dict[str, Any]]:
    arguments = as_hydra_reads_them(overrides, ENTRY)
    try:
        with _hydra:
            GlobalHydra.instance().clear()
            with initialize_config_dir(str(CONF), version_base="1.3"):
                config = compose(ENTRY, overrides=arguments, return_hydra_config=True)
        choices = dict(config.hydra.runtime.choices)
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        OmegaConf.set_struct(config, True)
        check_configuration(config)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error, CONF, ENTRY)) from None
    return config, choices
