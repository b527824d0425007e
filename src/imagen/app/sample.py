"""Text to picture files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, ListConfig

from imagen.cascade import SamplingSettings
from imagen.commandline.outputs import Claim, claimed, own_folder
from imagen.data.pixels import to_uint8
from imagen.diffusion.guidance import check_guidance
from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import file_prompts, list_prompts
from imagen.files import sha256_of_file, user_path
from imagen.inputs.captions import PromptsOrEmbeddings, one_for_each_picture, reads_text
from imagen.pictures import labelled_grid, save_png
from imagen.sampling.configured import configured_settings
from imagen.sampling.opening import open_model
from imagen.sampling.text_to_image import TextToImage
from imagen.text.embedding_file import read_embeddings

ELSEWHERE, INSTEAD = "give another out=", "overwrite=true, which removes exactly those"
COUNT = 4
GRID_ROWS, GRID_COLUMNS = 256, 32
"""More prompts and pictures of each are saved, and not shown in grid.png: it would be too large to be looked at."""


@dataclass(frozen=True)
class Order:
    """What to sample: `count` pictures for each of `rows`.

    `text` has one entry for each picture, `facts` what a picture of each row carries about it, `labels` what the grid
    shows beside it.
    """

    text: PromptsOrEmbeddings
    labels: Sequence[str]
    facts: Sequence[dict[str, Any]]
    count: int


def sample(config: DictConfig) -> None:
    """Write the pictures of every stage for every prompt, and a labelled grid, into `config.out`.

    Raises:
        UserError: for prompts, embeddings, settings or stages that cannot be used.
    """
    prompts = _prompts(config)
    model = open_model(config)
    order = _order(config, model, prompts)
    stop_at = config.cascade.stop_at
    weights = _weights(config, len(model.roles))
    settings = configured_settings(config, model.roles, weights, stopped=stop_at is not None)
    began = f"sample.py, {datetime.now().astimezone().isoformat(' ')}"
    with claimed(own_folder(config), began, config.overwrite, ELSEWHERE, INSTEAD) as mine:
        _sample(order, settings, config.cascade.seed, model, mine)


def _sample(order: Order, settings: Sequence[SamplingSettings], seed: int, model: TextToImage, mine: Claim) -> None:
    described = model.describe(settings, seed)
    total = len(order.text)
    with model.shown(total, settings) as watch:
        made = model.sample(order.text, range(total), settings, seed, watch=watch)
    pictures = [to_uint8(images) for images in made]
    mine.begin([f"{stage}/{i:05d}.png" for stage in model.roles for i in range(total)] + ["grid.png"])
    _save(pictures, order, seed, described, model.roles, mine.folder)
    columns = min(order.count, GRID_COLUMNS)
    starts = range(0, total, order.count)[:GRID_ROWS]
    rows = [list(pictures[-1][start : start + columns]) for start in starts]
    labels = list(order.labels[: len(rows)])
    grid = labelled_grid(rows, labels, [f"picture {i}" for i in range(columns)])
    save_png(grid, mine.folder / "grid.png", {"prompts": labels, "seed": seed})
    print(f"{total} picture{'s' if total > 1 else ''} and grid.png in {mine.folder}")


def _save(
    pictures: list[np.ndarray], order: Order, seed: int, described: list[dict[str, Any]], roles: list[str], out: Path
) -> None:
    """One PNG for each picture and stage, with all that is needed to make it again: what it was made from, and each
    stage that it came through."""
    for number, (role, batch) in enumerate(zip(roles, pictures, strict=True)):
        through = [{"stage": name, **stage} for name, stage in zip(roles[: number + 1], described, strict=False)]
        for i, picture in enumerate(batch):
            facts = {**order.facts[i // order.count], "seed": seed, "picture": i, "stage": role, "stages": through}
            save_png(picture, out / role / f"{i:05d}.png", facts)


def _order(config: DictConfig, model: TextToImage, prompts: list[str] | None) -> Order:
    """What `config` asks for. Raises UserError unless it is what the stages read."""
    stage = model.stages[0]
    if config.embeddings is not None:
        embeddings = read_embeddings(config.embeddings)
        count = config.count or 1
        facts = {"embeddings_sha256": sha256_of_file(user_path(config.embeddings))}
        rows = range(len(embeddings))
        text = one_for_each_picture(stage, None, embeddings, count, f"embeddings file {config.embeddings}")
        return Order(text, [f"row {row}" for row in rows], [facts | {"row": row} for row in rows], count)
    count = config.count or COUNT
    if prompts is None and reads_text(stage):
        raise UserError('give either prompt="...", prompts_file=FILE or embeddings=FILE')
    text = one_for_each_picture(stage, prompts, None, count)
    if prompts is None:
        return Order(text, [""], [{"prompt": None}], count)
    _ = model.text  # refused now where its encoder is not on this machine
    return Order(text, prompts, [{"prompt": prompt} for prompt in prompts], count)


def _prompts(config: DictConfig) -> list[str] | None:
    """The captions that `config` names, None where it names none."""
    given = [key for key in ("prompt", "prompts_file", "embeddings") if config[key] is not None]
    if len(given) > 1:
        raise UserError(f"{' and '.join(f'{key}=' for key in given)}: give one of them")
    if config.prompts_file is not None:
        return file_prompts(config.prompts_file).texts
    if config.prompt is None:
        return None
    prompts = list(config.prompt) if isinstance(config.prompt, ListConfig) else [config.prompt]
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise UserError(
                f"prompt={prompt} is not text; quote it twice: prompt=\"'{prompt}'\", or use prompts_file=FILE"
            )
    return list_prompts(prompts).texts


def _weights(config: DictConfig, stages: int) -> list[float]:
    """The guidance weight of each stage that is sampled; the last one given serves all stages after it.

    Raises:
        UserError: for none, and for more than there are stages. Two weights are always accepted; with `stop_at`, any
            number.
    """
    given = config.guidance_weights
    values = [float(value) for value in given] if isinstance(given, ListConfig) else [float(given)]
    if not values:
        raise UserError("guidance_weights=[]: give a number, or one for each stage as guidance_weights=[3,1.5]")
    if len(values) > max(stages, 2) and config.cascade.stop_at is None:
        raise UserError(f"guidance_weights={given}: {len(values)} weights for {stages} stages; leave out the surplus")
    for value in values:
        check_guidance(value, rescale=0)
    return [values[min(i, len(values) - 1)] for i in range(stages)]
