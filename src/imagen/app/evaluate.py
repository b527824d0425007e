"""Alignment against fidelity for a trained cascade."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from imagen.app.sampling import Studio, open_studio, settings_for
from imagen.diffusion.thresholding import Thresholding
from imagen.evaluation.harness import Evaluation
from imagen.instantiation import instantiate


def evaluate(config: DictConfig) -> None:
    """Sample every cell of the sweep that is not there yet, measure, and write the report into `config.out`.

    Raises:
        UserError: for weights, prompts, judges or stages that cannot be used.
    """
    evaluation = Evaluation(
        judges=instantiate(config.metrics.judges),
        checker=instantiate(config.metrics.checker),
        prompts=instantiate(config.prompts),
        weights=[float(weight) for weight in config.guidance.weights],
        thresholdings={label: instantiate(node) for label, node in config.guidance.thresholdings.items()},
        reference=instantiate(config.metrics.reference),
        out=Path(config.out),
        block_size=config.block_size,
        seed=config.seed,
        grid_prompts=config.grid_prompts,
    )
    studio = open_studio(config)

    def pictures(
        captions: Sequence[str], picture_ids: Sequence[int], guidance_weight: float, thresholding: Thresholding
    ) -> np.ndarray:
        settings = settings_for(config, len(studio.cascade.stages), [guidance_weight, config.sr_guidance], thresholding)
        return studio.pictures(captions, picture_ids, settings)[-1]

    evaluation.run(pictures, _identity(config, studio))
    print(f"report.md, results.json, sweep.csv and plots in {config.out}\n  tensorboard --logdir {config.out}")


def _identity(config: DictConfig, studio: Studio) -> dict[str, Any]:
    """All that the pictures depend on besides prompt, seed, weight and thresholding."""
    samplers = OmegaConf.to_container(OmegaConf.create({"base": config.sampler, "sr": config.sr_sampler}), resolve=True)
    return {
        "stages": [stage.description.weights_sha256 for stage in studio.cascade.stages],
        "samplers": samplers,
        "sr_guidance": config.sr_guidance,
        "aug_level": config.cascade.aug_level,
        "autocast": studio.autocast,
        "device": studio.device.type,
    }
