"""The curves of an evaluation from its configuration: named sets of changes to how the cascade is sampled."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from imagen.cascade import SamplingSettings
from imagen.commandline.numbers import check_numbers
from imagen.data.pixels import to_uint8
from imagen.errors import UserError
from imagen.evaluation.sweep.plan import Curve, Plan, check_weights
from imagen.evaluation.sweep.shared_stages import SharedStages
from imagen.files import fingerprint, user_path
from imagen.instantiation import resolved
from imagen.sampling.text_to_image import Studio, listed, open_studio, settings_for

SAMPLING = ("sampler", "sr_sampler", "thresholding", "guidance_rule", "base_guidance", "sr_guidance", "cascade")
"""What a curve may change."""

WEIGHT_OF = {"base_guidance": "base stage", "sr_guidance": "super-resolution stages"}
"""Which guidance weight a sweep may move, and what its plots call it."""


def make_curves(config: DictConfig) -> "dict[str, CascadeCurve]":
    """The curves of `config.guidance` by label, on stages that are found, loaded and named here.

    Raises:
        UserError: for weights, labels, changes or stages that cannot be used.
    """
    guidance = config.guidance
    if guidance.weight_of not in WEIGHT_OF:
        raise UserError(f"guidance.weight_of={guidance.weight_of}: choose one of {', '.join(WEIGHT_OF)}")
    weights = check_weights(listed(guidance, "weights", "guidance.weights"))
    studios: dict[str, Studio] = {}
    ways = {}
    for label, changes in guidance.curves.items():
        if guidance.weight_of in (changes or {}):
            raise UserError(
                f"guidance.curves.{label}.{guidance.weight_of}: the sweep moves this weight; change another"
            )
        how = changed(config, changes, f"guidance.curves.{label}")
        ways[label] = CascadeCurve(_studio(how, studios), how, guidance.weight_of)
        for weight in weights:
            ways[label].settings(weight)  # what cannot be sampled is refused now, and not after the curves before it
    return ways


def make_plan(config: DictConfig, ways: "Mapping[str, CascadeCurve] | None" = None) -> Plan:
    """Every curve of `make_curves` (made here where they are not given) at every weight; stages that several cells have
    in common are sampled once."""
    ways = ways or make_curves(config)
    weights = check_weights(listed(config.guidance, "weights", "guidance.weights"))
    shared = SharedStages(user_path(config.out) / "stages", [way.stages(w) for way in ways.values() for w in weights])
    curves = {label: Curve(partial(way.sample, shared), way.identity) for label, way in ways.items()}
    return Plan(curves, weights, WEIGHT_OF[config.guidance.weight_of])


@dataclass(frozen=True)
class CascadeCurve:
    """A cascade and how it is sampled. `weight_of` is the key of `config` that the sweep moves."""

    studio: Studio
    config: DictConfig
    weight_of: str

    def sample(
        self, shared: SharedStages, captions: Sequence[str], picture_ids: Sequence[int], guidance_weight: float
    ) -> np.ndarray:
        """Pictures of the last stage; those of the first stages from `shared` where other cells have them too."""
        stages, settings = self.stages(guidance_weight), self.settings(guidance_weight)
        smaller, depth = None, shared.depth(stages)
        if depth:
            content = {"captions": list(captions), "picture_ids": list(picture_ids), "seed": self.studio.seed}
            make = partial(self.studio.images, captions, picture_ids, settings[:depth])
            smaller = shared.images(stages[:depth], content, lambda: make()[-1])
        return to_uint8(self.studio.images(captions, picture_ids, settings, smaller, depth)[-1])

    def settings(self, guidance_weight: float) -> list[SamplingSettings]:
        """How each stage is sampled, at one weight of the sweep. Raises UserError for what cannot be."""
        guidance = [stage["guidance_weight"] for stage in self.stages(guidance_weight)]
        return settings_for(self.config, len(guidance), guidance)

    @property
    def identity(self) -> dict[str, Any]:
        """All that the pictures depend on, but for the weight that the sweep moves: null here."""
        return {"stages": self.stages(None)}

    def stages(self, guidance_weight: float | None) -> list[dict[str, Any]]:
        """What each stage is and how it is sampled, at one weight of the sweep."""
        return [self._stage(i, guidance_weight) for i in range(len(self.studio.cascade.stages))]

    def _stage(self, index: int, guidance_weight: float | None) -> dict[str, Any]:
        role, sampler = ("sr_guidance", "sr_sampler") if index else ("base_guidance", "sampler")
        stage = self.studio.cascade.stages[index].description
        said = {
            "stage_sha256": fingerprint(stage.identity),
            "weights_sha256": stage.weights_sha256,  # part of it, for the reader
            "weights": self.config.cascade.weights,
            "seed": self.studio.seed,  # cascade.seed may be another than the evaluation's
            "guidance_weight": guidance_weight if role == self.weight_of else float(self.config[role]),
            "sampler": resolved(self.config[sampler]),
            "thresholding": resolved(self.config.thresholding),
            "guidance_rule": resolved(self.config.guidance_rule),
            "autocast": self.studio.autocast,
            "device": self.studio.device.type,
        }
        return said | ({"aug_level": float(self.config.cascade.aug_level)} if index else {})


def changed(config: DictConfig, changes: Mapping[str, Any] | None, where: str) -> DictConfig:
    """All of `config` that sampling needs, with the `changes` of a curve, resolved.

    A change with a `_target_` replaces the whole object, any other only the values it names.

    Raises:
        UserError: for a key that is not there, or that says nothing about sampling.
    """
    plain = {key: resolved(config[key]) for key in ("text", "paths", *SAMPLING)}
    wanted = resolved(changes or {})
    for key in wanted:
        if key not in SAMPLING:
            raise UserError(f"{where}.{key}: a curve may change {', '.join(SAMPLING)}")
    how = OmegaConf.create(_merged(plain, wanted, where))
    check_numbers(how)
    return how


def _merged(plain: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> dict[str, Any]:
    merged = dict(plain)
    for key, value in changes.items():
        if key not in plain:
            raise UserError(f"{where}.{key}: no such key; choose one of {', '.join(plain)}")
        deeper = isinstance(value, Mapping) and isinstance(plain[key], Mapping) and "_target_" not in value
        merged[key] = _merged(plain[key], value, f"{where}.{key}") if deeper else value
    return merged


def _studio(how: DictConfig, studios: dict[str, Studio]) -> Studio:
    """Curves on the same stages share one studio."""
    places = {key: value for key, value in resolved(how.cascade).items() if key != "aug_level"}
    key = json.dumps(places, sort_keys=True)
    if key not in studios:
        studios[key] = open_studio(how)
    return studios[key]
