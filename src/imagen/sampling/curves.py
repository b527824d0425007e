"""The curves of an evaluation, from its configuration: named changes to the sampling of the cascade."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from imagen.cascade.embeddings import LOOKED_AT, FromPicture, FromPrior
from imagen.cascade.settings import SamplingSettings
from imagen.commandline.numbers import check_numbers
from imagen.data.pixels import from_uint8, to_uint8
from imagen.diffusion.conditioning import Conditioning, ImageSignal
from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import PromptSet
from imagen.evaluation.sweep.plan import Curve, Plan, check_weights
from imagen.evaluation.sweep.shared_stages import SharedStages
from imagen.evaluation.sweep.timing import Timed, device_name
from imagen.files import user_path
from imagen.inputs.edits import PictureInputs
from imagen.instantiation import resolved
from imagen.sampling.configured import (
    configured_embedding,
    configured_settings,
    listed,
    merged,
    own_embedding,
    own_settings,
)
from imagen.sampling.opening import open_model
from imagen.sampling.text_to_image import TextToImage

SAMPLING = (
    "sampler", "sr_sampler", "thresholding", "guidance_rule", "base_guidance", "sr_guidance", "sampling", "embedding",
    "cascade", "text",
)  # fmt: skip
"""What a curve may change."""

WEIGHTS = "weights"
"""A curve's own guidance weights, in the place of guidance.weights."""

ON_ALL_STAGES = {
    "sampler": ("sampler", "sr_sampler"),
    "thresholding": ("thresholding", "thresholding"),
    "guidance_rule": ("guidance_rule", "guidance_rule"),
    "guidance_weight": ("base_guidance", "sr_guidance"),
    "aug_level": ("cascade.aug_level", "cascade.aug_level"),
}
"""For each setting of `sampling.<role>`, the key that sets it for the base stage, and for the others."""

PRIOR_GUIDANCE = "prior_guidance"
WEIGHT_OF = {"base_guidance": "base stage", "sr_guidance": "super-resolution stages", PRIOR_GUIDANCE: "prior"}
"""Which guidance weight a sweep may move, and what its plots call it."""


def make_curves(config: DictConfig, prompts: PromptSet | None = None) -> "dict[str, CascadeCurve]":
    """The curves of `config.guidance` by label; their stages are found, loaded and printed here. The true pictures of
    `prompts` are looked at where a curve has embedding=picture.

    Raises:
        UserError: for weights, labels, changes or stages that cannot be used.
    """
    guidance = config.guidance
    if guidance.weight_of not in WEIGHT_OF:
        raise UserError(f"guidance.weight_of={guidance.weight_of}: choose one of {', '.join(WEIGHT_OF)}")
    everywhere = check_weights(listed(guidance, "weights", "guidance.weights"))
    models: dict[str, TextToImage] = {}
    curves = {}
    for label, node in guidance.curves.items():
        where = f"guidance.curves.{label}"
        changes, weights = resolved(node or {}), everywhere
        if changes.pop(WEIGHTS, None) is not None:
            weights = check_weights(listed(node, WEIGHTS, f"{where}.{WEIGHTS}"), f"{where}.{WEIGHTS}")
        if guidance.weight_of in changes:
            raise UserError(f"{where}.{guidance.weight_of}: the sweep moves this weight; change another")
        settings = changed(config, changes, where)
        curves[label] = CascadeCurve(_model(settings, models), settings, guidance.weight_of, weights, prompts)
        curves[label].inputs([])
        for weight in weights:
            curves[label].settings(weight)  # refused now, not after earlier curves were sampled
        _refuse_overridden(own_settings(config), changes, label, curves[label].model.roles)
    return curves


def make_plan(config: DictConfig, curves: "Mapping[str, CascadeCurve] | None" = None) -> Plan:
    """Every curve of `make_curves`, made here unless given, at each of its weights.

    Stages that several cells have in common are sampled once.
    """
    curves = curves or make_curves(config)
    weights = check_weights(listed(config.guidance, "weights", "guidance.weights"))
    cells = [curve.stages(weight) for curve in curves.values() for weight in curve.weights]
    shared = SharedStages(user_path(config.out) / "stages", cells)
    planned = {
        label: Curve(partial(curve.sample, shared), curve.identity, curve.weights, curve.passes, curve.clips)
        for label, curve in curves.items()
    }
    plan = Plan(planned, weights, WEIGHT_OF[config.guidance.weight_of])
    _refuse_equal(plan.identities)
    return plan


@dataclass(frozen=True)
class CascadeCurve:
    """A cascade and its sampling settings, in `config`. `weight_of` is the key of it that the sweep moves, through
    `weights`. `prompts` have the true pictures that an unCLIP decoder may look at."""

    model: TextToImage
    config: DictConfig
    weight_of: str
    weights: Sequence[float]
    prompts: PromptSet | None = None

    @property
    def seed(self) -> int:
        """Of the noise: cascade.seed, which may differ from that of the evaluation."""
        return self.config.cascade.seed

    def sample(
        self, shared: SharedStages, captions: Sequence[str], picture_ids: Sequence[int], guidance_weight: float
    ) -> Timed:
        """Pictures of the last stage; those of the first stages come from `shared` where other cells need them too.

        Timed without the text encoder: each caption is embedded once, so the first cell would pay for all.
        """
        stages, settings = self.stages(guidance_weight), self.settings(guidance_weight)
        self.model.text.embed(list(captions))
        inputs, depth, before = self.inputs(picture_ids), shared.depth(stages), 0.0
        if depth:
            content = {"captions": list(captions), "picture_ids": list(picture_ids), "seed": self.seed}
            make = partial(self.model.sample, captions, picture_ids, settings[:depth], self.seed, inputs)
            smaller, before = shared.images(stages[:depth], content, lambda: make()[-1])
            inputs = PictureInputs(Conditioning(smaller=ImageSignal(smaller)), first=depth)
        begun = perf_counter()
        pictures = to_uint8(self.model.sample(captions, picture_ids, settings, self.seed, inputs)[-1])
        seconds = perf_counter() - begun
        return Timed(pictures, None if before is None else before + seconds, device_name(self.model.device))

    def passes(self, guidance_weight: float) -> dict[str, int | None]:
        """By stage, the network passes for one picture at one weight of the sweep."""
        return self.model.cascade.passes(self.settings(guidance_weight))

    def inputs(self, picture_ids: Sequence[int]) -> PictureInputs:
        """What the pictures are made from besides their captions.

        Raises:
            UserError: if true pictures are to be looked at, and the prompts have none.
        """
        if not isinstance(own_embedding(self.config), FromPicture):
            return PictureInputs()
        if self.prompts is None or not self.prompts.have_truths:
            raise UserError("embedding=picture looks at the true pictures of the prompts, and these have none")
        side = self.model.stages[-1].resolution
        truths = [from_uint8(self.prompts.draw_truth(i, side)[None]) for i in picture_ids]
        return PictureInputs(Conditioning({LOOKED_AT: ImageSignal(torch.cat(truths))} if truths else {}))

    def settings(self, guidance_weight: float) -> list[SamplingSettings]:
        """The settings of each stage at one weight of the sweep. Raises UserError for those that cannot be used."""
        moved, embedding = self._moved(), configured_embedding(self.config, self.model.cascade)
        if self.weight_of == PRIOR_GUIDANCE:
            if not isinstance(embedding, FromPrior):
                raise UserError(f"guidance.weight_of={PRIOR_GUIDANCE}: these stages have no prior, or do not ask it")
            embedding = replace(embedding, weight=guidance_weight)
        elif not any(moved):
            raise UserError(
                f"guidance.weight_of={self.weight_of}: of {', '.join(self.model.roles)} the sweep moves no stage; "
                "choose the other one, or leave out sampling.<role>.guidance_weight, which fixes the weight of a stage"
            )
        fixed = [float(self.config["sr_guidance" if i else "base_guidance"]) for i in range(len(moved))]
        weights = [guidance_weight if moves else weight for moves, weight in zip(moved, fixed, strict=True)]
        stopped = self.config.cascade.stop_at is not None
        return configured_settings(self.config, self.model.roles, weights, stopped, embedding=embedding)

    @property
    def clips(self) -> frozenset[str]:
        """sha256 of every CLIP whose vectors the stages were trained on."""
        return frozenset(stage.clip for stage in self.model.stages if stage.clip is not None)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the pictures depend on but the weight that the sweep moves, which is null here."""
        stages = self.stages(1.0)
        for stage, moves in zip(stages, self._moved(), strict=True):
            if moves:
                stage["guidance_weight"] = None
        if self.weight_of == PRIOR_GUIDANCE:
            stages[0]["embedding"]["weight"] = None
        return {"stages": stages}

    def stages(self, guidance_weight: float) -> list[dict[str, Any]]:
        """The description of each stage and its settings at one weight of the sweep."""
        return self.model.describe(self.settings(guidance_weight), self.seed)

    def _moved(self) -> list[bool]:
        """For each stage whether the sweep moves its guidance weight."""
        own = own_settings(self.config)
        return [
            ("sr_guidance" if i else "base_guidance") == self.weight_of and "guidance_weight" not in own.get(role, {})
            for i, role in enumerate(self.model.roles)
        ]


def changed(config: DictConfig, changes: Mapping[str, Any] | None, where: str) -> DictConfig:
    """The part of `config` that sampling needs, with the `changes` of a curve, resolved.

    A change with a `_target_` replaces the whole object, any other only the values it names.

    Raises:
        UserError: for a key that does not exist, or has no part in sampling.
    """
    plain = {key: resolved(config[key]) for key in ("paths", *SAMPLING)}
    wanted = resolved(changes or {})
    for key in wanted:
        if key not in SAMPLING:
            raise UserError(f"{where}.{key}: a curve may change {', '.join((WEIGHTS, *SAMPLING))}")
    settings = OmegaConf.create(merged(plain, wanted, where))
    check_numbers(settings)
    return settings


def _refuse_overridden(
    by_role: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Any], label: str, roles: Sequence[str]
) -> None:
    """Raises UserError if the evaluation sets for one stage (`by_role`) what the curve `label` changes for all stages:
    the change would have no effect on that stage."""
    for number, role in enumerate(roles):
        for key, value in by_role.get(role, {}).items():
            place = ON_ALL_STAGES[key][min(number, 1)]
            change, again = _at(changes, place), _at(changes, f"sampling.{role}.{key}")
            if change is None or again is not None:  # said again by the curve, whose word it is then
                continue
            if where := _first_common(change, value, f"sampling.{role}.{key}"):
                raise UserError(f"{where} overrides guidance.curves.{label!r}.{place}: leave one of them out")


def _at(node: Any, place: str) -> Any:
    """The value at a dotted `place` in plain mappings, None where there is none."""
    for part in place.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _first_common(change: Any, own: Any, place: str) -> str | None:
    """The place of the first value that both set, None if there is none. `own` stands at `place`; one with a `_target_`
    replaces the whole object."""
    if not isinstance(change, Mapping) or not isinstance(own, Mapping) or "_target_" in own:
        return place
    places = (_first_common(change[key], own[key], f"{place}.{key}") for key in own if key in change)
    return next(filter(None, places), None)


def _refuse_equal(identities: Mapping[str, Any]) -> None:
    """Raises UserError for two curves of the same pictures."""
    labels: dict[str, str] = {}
    for label, identity in identities.items():
        first = labels.setdefault(json.dumps(identity, sort_keys=True), label)
        if first != label:
            raise UserError(
                f"guidance.curves: {first!r} and {label!r} are sampled in the same way; change or leave out one of them"
            )


def _model(config: DictConfig, models: dict[str, TextToImage]) -> TextToImage:
    """Curves on the same stages share one model, which reads the text that its own stages were trained on."""
    places = {key: value for key, value in resolved(config.cascade).items() if key not in ("aug_level", "seed")}
    key = json.dumps([places, resolved(config.text)], sort_keys=True)
    if key not in models:
        models[key] = open_model(config)
        _ = models[key].text  # refused now where its encoder is not on this machine
    return models[key]
