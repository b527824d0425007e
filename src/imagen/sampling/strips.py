"""Denoising strips of an evaluation: a few of its prompts, sampled again on the same noise and recorded."""

from collections.abc import Mapping, Sequence

import torch
from omegaconf import DictConfig

from imagen.data.pixels import to_uint8
from imagen.diffusion.samplers import Estimate
from imagen.evaluation.report.strips import Strip, draw_strips, load_strips, remove_strips, save_strips
from imagen.evaluation.sweep.plan import check_weights, middle_and_ends
from imagen.files import user_path
from imagen.locks import hold
from imagen.sampling.configured import listed
from imagen.sampling.curves import CascadeCurve


def write_strips(config: DictConfig, curves: Mapping[str, CascadeCurve], texts: Sequence[str]) -> None:
    """Draw the strips of the first prompts into `config.out`, for the first curve of the sweep.

    Strips that an earlier run of the same evaluation kept are drawn again without sampling.
    """
    wanted, out = config.strips, user_path(config.out)
    curve = next(iter(curves.values()))
    texts = list(texts[: min(wanted.prompts, curve.model.batch_size)])  # one batch, so that moments are those of all
    if not texts:
        remove_strips(out)
        return
    weights = strip_weights(config) or middle_and_ends(curve.weights)
    cells = [curve.stages(weight) for weight in weights]
    identity = {"cells": cells, "seed": curve.seed, "texts": texts, "weights": weights, "moments": wanted.moments}
    with hold(out / "locks" / "strips", wait=True):
        strips = load_strips(identity, out)
        if strips is None:
            strips = _sample(curve, texts, weights, wanted.moments)
            save_strips(strips, identity, out)
        draw_strips(strips, texts, weights, out)


def strip_weights(config: DictConfig) -> list[float] | None:
    """The guidance weights in `config.strips`; None leaves them to the sweep.

    Raises:
        UserError: unless they are a list of guidance weights.
    """
    if config.strips.weights is None:
        return None
    given = listed(config.strips, "weights", "strips.weights")
    check_weights(given)
    return [float(weight) for weight in given]


def _sample(curve: CascadeCurve, texts: Sequence[str], weights: Sequence[float], moments: int) -> list[Strip]:
    """One strip for each stage."""
    stages = curve.model.roles
    pictures: dict[str, list[torch.Tensor]] = {name: [] for name in stages}
    log_snrs: dict[str, list[float]] = {}
    for weight in weights:
        seen = _estimates(curve, texts, weight)
        for name in stages:
            kept = evenly(seen[name], moments)
            log_snrs[name] = [round(moment.log_snr, 3) for moment in kept]
            over_time = [torch.from_numpy(to_uint8(moment.x0)) for moment in kept]
            pictures[name].append(torch.stack(over_time, dim=1))
    return [Strip(name, log_snrs[name], torch.stack(pictures[name])) for name in stages]


def _estimates(curve: CascadeCurve, texts: Sequence[str], weight: float) -> dict[str, list[Estimate]]:
    """All estimates of each stage, noisiest first."""
    seen: dict[str, list[Estimate]] = {name: [] for name in curve.model.roles}

    def watch(name: str, estimate: Estimate) -> None:
        seen[name].append(estimate)

    ids = range(len(texts))
    curve.model.sample(texts, ids, curve.settings(weight), curve.seed, curve.inputs(ids), watch=watch)
    return seen


def evenly(estimates: Sequence[Estimate], count: int) -> list[Estimate]:
    """At most `count` of the estimates, evenly spaced, the first and the last among them."""
    kept = min(count, len(estimates))
    if kept <= 1:
        return list(estimates[len(estimates) - kept :])
    return [estimates[round(i * (len(estimates) - 1) / (kept - 1))] for i in range(kept)]
