"""Text to picture files."""

from datetime import datetime
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, ListConfig

from imagen.app.outputs import Claim, claimed, own_folder
from imagen.app.sampling import Studio, open_studio, settings_for
from imagen.diffusion.guidance import check_guidance
from imagen.errors import UserError
from imagen.evaluation.prompts import file_prompts, list_prompts
from imagen.pictures import labelled_grid, save_png

ELSEWHERE, INSTEAD = "give another out=", "overwrite=true, which removes exactly those"
GRID_ROWS, GRID_COLUMNS = 256, 32
"""More prompts and pictures of each are saved, and not shown in grid.png: it would be too large to be looked at."""


def sample(config: DictConfig) -> None:
    """Write the pictures of every stage for every prompt, and a labelled grid, into `config.out`.

    Raises:
        UserError: for prompts, weights or stages that cannot be used.
    """
    prompts = _prompts(config)
    if not isinstance(config.count, int) or config.count < 1:
        raise UserError(f"count={config.count} must be a whole number of at least 1")
    if not isinstance(config.overwrite, bool):
        raise UserError(f"overwrite={config.overwrite} must be true or false")
    weights = _weights(config.guidance_weights)
    began = f"sample.py, {datetime.now().astimezone().isoformat(' ')}"
    with claimed(own_folder(config), began, config.overwrite, ELSEWHERE, INSTEAD) as mine:
        _sample(prompts, weights, config, mine)


def _sample(prompts: list[str], weights: list[float], config: DictConfig, mine: Claim) -> None:
    studio = open_studio(config)
    settings = settings_for(config, len(studio.cascade.stages), weights)
    captions = [prompt for prompt in prompts for _ in range(config.count)]
    pictures = studio.pictures(captions, range(len(captions)), settings)
    stages = [stage.description.name for stage in studio.cascade.stages]
    mine.begin([f"{stage}/{i:05d}.png" for stage in stages for i in range(len(captions))] + ["grid.png"])
    _save(pictures, captions, studio, weights, config, mine.folder)
    columns = min(config.count, GRID_COLUMNS)
    starts = range(0, len(captions), config.count)[:GRID_ROWS]
    rows = [list(pictures[-1][start : start + columns]) for start in starts]
    grid = labelled_grid(rows, prompts[: len(rows)], [f"picture {i}" for i in range(columns)])
    save_png(grid, mine.folder / "grid.png", {"prompts": prompts[: len(rows)], "seed": studio.seed})
    print(f"{len(captions)} pictures and grid.png in {mine.folder}")


def _save(
    pictures: list[np.ndarray], captions: list[str], studio: Studio, weights: list[float], config: DictConfig, out: Path
) -> None:
    """One PNG for each picture and stage, with all that is needed to make it again."""
    for stage, batch in zip(studio.cascade.stages, pictures, strict=True):
        for i, (caption, picture) in enumerate(zip(captions, batch, strict=True)):
            settings = {
                "prompt": caption,
                "seed": studio.seed,
                "picture": i,
                "stage": stage.description.name,
                "weights_sha256": stage.description.weights_sha256,
                "weights": config.cascade.weights,
                "guidance": weights,
                "sampler": dict(config.sampler),
                "sr_sampler": dict(config.sr_sampler),
                "thresholding": dict(config.thresholding),
                "guidance_rule": dict(config.guidance_rule),
                "aug_level": config.cascade.aug_level,
            }
            save_png(picture, out / stage.description.name / f"{i:05d}.png", _plain(settings))


def _plain(settings: dict) -> dict:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.create(settings), resolve=True)


def _prompts(config: DictConfig) -> list[str]:
    if (config.prompt is None) == (config.prompts_file is None):
        raise UserError('give either prompt="..." or prompts_file=FILE')
    if config.prompts_file is not None:
        return file_prompts(config.prompts_file).texts
    prompts = list(config.prompt) if isinstance(config.prompt, ListConfig) else [config.prompt]
    return list_prompts([str(prompt) for prompt in prompts]).texts


def _weights(guidance: object) -> list[float]:
    values = list(guidance) if isinstance(guidance, ListConfig) else [guidance]
    if not values or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise UserError(
            f"guidance_weights={guidance}: give a number, or one for each stage as guidance_weights=[3,1.5]"
        )
    for value in values:
        check_guidance(value, rescale=0)
    return [float(value) for value in values]
