"""Alignment against fidelity for a trained cascade."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from imagen.app.sampling import Studio, open_studio, settings_for
from imagen.diffusion.thresholding import Thresholding
from imagen.errors import UserError
from imagen.evaluation.compare import compare_results, load_results
from imagen.evaluation.harness import Evaluation
from imagen.evaluation.report import write_text
from imagen.instantiation import instantiate


def evaluate(config: DictConfig) -> None:
    """Sample every cell of the sweep that is not there yet, measure, and write the report into `config.out`.

    Raises:
        UserError: for weights, prompts, judges or stages that cannot be used.
    """
    if config.compare is not None:
        _compare(config)
        return
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


def _compare(config: DictConfig) -> None:
    """Write compare.md for the two finished evaluations that `config.compare` names."""
    names = [str(name) for name in config.compare] if OmegaConf.is_list(config.compare) else []
    if len(names) != 2:
        raise UserError(f"compare={config.compare}: give the names of two evaluations, e.g. compare=[one,other]")
    one, other = (load_results(Path(config.paths.outputs) / "evaluation" / name) for name in names)
    path = Path(config.out) / "compare.md"
    write_text(compare_results(one, other, (names[0], names[1])), path)
    print(path)


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
