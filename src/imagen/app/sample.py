"""Text to picture files."""

from datetime import datetime
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, ListConfig

from imagen.commandline.outputs import Claim, claimed, own_folder
from imagen.diffusion.guidance import check_guidance
from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import file_prompts, list_prompts
from imagen.files import fingerprint
from imagen.instantiation import resolved
from imagen.pictures import labelled_grid, save_png
from imagen.sampling.text_to_image import Studio, open_studio, settings_for

ELSEWHERE, INSTEAD = "give another out=", "overwrite=true, which removes exactly those"
GRID_ROWS, GRID_COLUMNS = 256, 32
"""More prompts and pictures of each are saved, and not shown in grid.png: it would be too large to be looked at."""


def sample(config: DictConfig) -> None:
    """Write the pictures of every stage for every prompt, and a labelled grid, into `config.out`.

    Raises:
        UserError: for prompts, weights or stages that cannot be used.
    """
    prompts = _prompts(config)
    studio = open_studio(config)
    weights = _weights(config, len(studio.cascade.stages))
    began = f"sample.py, {datetime.now().astimezone().isoformat(' ')}"
    with claimed(own_folder(config), began, config.overwrite, ELSEWHERE, INSTEAD) as mine:
        _sample(prompts, weights, config, studio, mine)


def _sample(prompts: list[str], weights: list[float], config: DictConfig, studio: Studio, mine: Claim) -> None:
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
    print(f"{len(captions)} picture{'s' if len(captions) > 1 else ''} and grid.png in {mine.folder}")


def _save(
    pictures: list[np.ndarray], captions: list[str], studio: Studio, weights: list[float], config: DictConfig, out: Path
) -> None:
    """One PNG for each picture and stage, with all that is needed to make it again."""
    hashes: list[str] = []  # of the stages that a picture came through
    for stage, batch in zip(studio.cascade.stages, pictures, strict=True):
        hashes.append(fingerprint(stage.description.identity))
        for i, (caption, picture) in enumerate(zip(captions, batch, strict=True)):
            settings = {
                "prompt": caption,
                "seed": studio.seed,
                "picture": i,
                "stage": stage.description.name,
                "stages_sha256": list(hashes),
                "weights_sha256": stage.description.weights_sha256,
                "weights": config.cascade.weights,
                "autocast": studio.autocast,
                "device": studio.device.type,
                "guidance": weights,
                "sampler": resolved(config.sampler),
                "sr_sampler": resolved(config.sr_sampler),
                "thresholding": resolved(config.thresholding),
                "guidance_rule": resolved(config.guidance_rule),
                "aug_level": config.cascade.aug_level,
            }
            save_png(picture, out / stage.description.name / f"{i:05d}.png", settings)


def _prompts(config: DictConfig) -> list[str]:
    if (config.prompt is None) == (config.prompts_file is None):
        raise UserError('give either prompt="..." or prompts_file=FILE')
    if config.prompts_file is not None:
        return file_prompts(config.prompts_file).texts
    prompts = list(config.prompt) if isinstance(config.prompt, ListConfig) else [config.prompt]
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise UserError(
                f"prompt={prompt} is not text; quote it twice: prompt=\"'{prompt}'\", or use prompts_file=FILE"
            )
    return list_prompts(prompts).texts


def _weights(config: DictConfig, stages: int) -> list[float]:
    """The guidance weight of each stage that is sampled.

    Raises:
        UserError: for none, and for more than there are stages. The base stage's and one for the others is never too
            much, and neither is what belongs to stages that `stop_at` leaves out.
    """
    given = config.guidance_weights
    values = [float(value) for value in given] if isinstance(given, ListConfig) else [float(given)]
    if not values:
        raise UserError("guidance_weights=[]: give a number, or one for each stage as guidance_weights=[3,1.5]")
    if len(values) > max(stages, 2) and config.cascade.stop_at is None:
        raise UserError(f"guidance_weights={given}: {len(values)} weights for {stages} stages; leave out the surplus")
    for value in values:
        check_guidance(value, rescale=0)
    return values[:stages]
