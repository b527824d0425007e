"""Text to picture files."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from omegaconf import DictConfig, ListConfig

from imagen.checks.captions import checked_prompt
from imagen.commandline.interruption import Interrupted
from imagen.commandline.outputs import Claim, claimed, own_folder
from imagen.diffusion.guidance import check_guidance
from imagen.errors import UserError
from imagen.evaluation.prompts.prompt_set import list_prompts
from imagen.files import sha256_of_file, user_path
from imagen.inputs.captions import one_for_each_picture, reads_text
from imagen.inputs.edits import Edit
from imagen.inputs.negative import check_guided
from imagen.locks import only_writer
from imagen.pictures import labelled_grid, save_png
from imagen.sampling.command import hydra_value
from imagen.sampling.configured import configured_embedding, configured_settings
from imagen.sampling.opening import open_model
from imagen.sampling.orders.edited import configured_edit, facts_of_edit, is_set
from imagen.sampling.orders.kept import Kept, PictureFiles
from imagen.sampling.orders.order import Order, Recipe
from imagen.sampling.orders.prompt_files import read_rows
from imagen.sampling.orders.rows import Row
from imagen.sampling.orders.shards import Shards
from imagen.sampling.orders.work import Work
from imagen.sampling.text_to_image import TextToImage
from imagen.text.embedding_file import read_embeddings

ELSEWHERE, INSTEAD = "give another out=", "overwrite=true, which removes exactly those"
COUNT = 4
GRID = "grid.png"
GRID_ROWS, GRID_COLUMNS = 256, 32
"""More prompts and pictures of each are saved, and not shown in grid.png: it would be too large to be looked at."""

PNG, WEBDATASET = "png", "webdataset"


def sample(config: DictConfig) -> None:
    """Write the pictures of every stage for every prompt, and a labelled grid, into `config.out`.

    Each batch is saved as soon as it is done. Started again with the same order and the same `out`, it goes on.

    Raises:
        UserError: for prompts, embeddings, settings or stages that cannot be used, and where memory does not suffice.
        Interrupted: at a signal; says what is finished, and how to go on.
    """
    _check_format(config)
    rows = _rows(config)
    edit = configured_edit(config)
    model = open_model(config)
    order = _order(config, model, rows, edit)
    folder = own_folder(config)
    kept = PictureFiles(folder, order) if config.format == PNG else Shards(folder, order, config.shard_size)
    made_by = f"sample.py, order {kept.identity[:16]}"
    with only_writer(folder), claimed(folder, made_by, config.overwrite, ELSEWHERE, INSTEAD) as mine:
        _carry_out(kept, model, mine, config.overwrite)


def _carry_out(kept: Kept, model: TextToImage, mine: Claim, anew: bool) -> None:
    work = Work(model, kept, mine, [*kept.files, GRID], anew)
    if work.finished:
        print(f"{work.progress}: going on", flush=True)
    way_on = shlex.quote(f"out={hydra_value(str(mine.folder))}") + (" and without overwrite=true" if anew else "")
    try:
        work.run(way_on)
        _draw_grid(kept)
    except Interrupted as signalled:
        signalled.kept = f"{work.progress}; the same command with {way_on} goes on"
        raise
    print(f"{kept.described} and {GRID} in {mine.folder}")


def _draw_grid(kept: Kept) -> None:
    """The first pictures of the first rows, read one after the other: so many are not held in memory."""
    order, columns = kept.order, min(kept.order.count, GRID_COLUMNS)
    labels = list(order.labels[:GRID_ROWS])
    shown = kept.last([row * order.count + column for row in range(len(labels)) for column in range(columns)])
    rows = (islice(shown, columns) for _ in labels)
    grid = labelled_grid(rows, labels, [f"picture {i}" for i in range(columns)])
    save_png(grid, kept.folder / GRID, {"prompts": labels, "seed": order.seed})


def _order(config: DictConfig, model: TextToImage, rows: Sequence[Row] | None, edit: Edit) -> Order:
    """What `config` asks for. Raises UserError unless it is what the stages read."""
    stage = model.stages[0]
    if config.embeddings is not None:
        embeddings = read_embeddings(config.embeddings)
        text = one_for_each_picture(stage, None, embeddings, 1, f"embeddings file {config.embeddings}")
        digest = {"embeddings_sha256": sha256_of_file(user_path(config.embeddings))}
        rows = [_of_run(config, Row())] * len(embeddings)
        facts, labels = [digest | {"row": row} for row in range(len(rows))], [f"row {row}" for row in range(len(rows))]
    else:
        if rows is None and reads_text(stage):
            raise UserError('give either prompt="...", prompts_file=FILE or embeddings=FILE')
        text = one_for_each_picture(stage, None if rows is None else [f"{row.prompt}" for row in rows], None, 1)
        if rows is not None:
            _ = model.text  # refused now where its encoder is not on this machine
        rows = [_of_run(config, row) for row in rows or [Row()]]
        facts, labels = [_facts(row) for row in rows], [row.prompt or "" for row in rows]
    edited = facts_of_edit(config)
    return Order(
        rows=rows,
        text=text,
        labels=labels,
        facts=[one | edited for one in facts],
        recipes=_recipes(config, model, rows, edit),
        roles=model.roles[edit.first(model.stages) :],
        count=config.count or (1 if config.embeddings is not None else COUNT),
        seed=config.cascade.seed,
        edit=edit,
    )


def _of_run(config: DictConfig, row: Row) -> Row:
    """The row, with the negative prompt of the run where it has none of its own."""
    if row.negative_prompt is not None or config.negative_prompt is None:
        return row
    return replace(row, negative_prompt=checked_prompt(config.negative_prompt, "negative_prompt"), where="")


def _facts(row: Row) -> dict[str, str | None]:
    """What a picture carries about its row, besides what seed, number and stages say."""
    negative = {} if row.negative_prompt is None else {"negative_prompt": row.negative_prompt}
    return {"prompt": row.prompt, **negative}


def _recipes(config: DictConfig, model: TextToImage, rows: Sequence[Row], edit: Edit) -> list[Recipe]:
    """How each row is sampled; one object for all rows of the same guidance weights."""
    of_run = _weights(config, config.guidance_weights, "guidance_weights", len(model.roles))
    known: dict[tuple[float, ...], Recipe] = {}
    recipes = []
    for row in rows:
        weights = of_run
        if row.guidance_weight is not None:
            key = f"{row.where}, guidance_weight"
            weights = _weights(config, list(row.guidance_weight), key, len(model.roles))
        if weights not in known:
            known[weights] = _recipe(config, model, weights, edit)
        recipes.append(known[weights])
        if row.negative_prompt is not None:
            name = f"{row.where}, negative_prompt" if row.where else "negative_prompt"
            check_guided(recipes[-1].settings, model.stages, name)
    return recipes


def _recipe(config: DictConfig, model: TextToImage, weights: Sequence[float], edit: Edit) -> Recipe:
    """How rows with these guidance weights are sampled. Raises UserError where the pictures of `edit` do not fit."""
    settings = configured_settings(
        config,
        model.roles,
        weights,
        stopped=config.cascade.stop_at is not None,
        sizes=edit.sizes(model.stages, tiled=is_set(config, "tile_overlap")),
        resample=edit.resample(model.stages),
        embedding=configured_embedding(config, model.cascade),
    )
    edit.inputs(model.stages, settings, pictures=1)
    return Recipe(settings, model.describe(settings, config.cascade.seed)[edit.first(model.stages) :])


def _rows(config: DictConfig) -> list[Row] | None:
    """The rows that `config` names by their captions, None where it names none."""
    given = [key for key in ("prompt", "prompts_file", "embeddings") if config[key] is not None]
    if len(given) > 1:
        raise UserError(f"{' and '.join(f'{key}=' for key in given)}: give one of them")
    if config.prompts_file is not None:
        return read_rows(config.prompts_file)
    if config.prompt is None:
        return None
    prompts = list(config.prompt) if isinstance(config.prompt, ListConfig) else [config.prompt]
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise UserError(
                f"prompt={prompt} is not text; quote it twice: prompt=\"'{prompt}'\", or use prompts_file=FILE"
            )
    return [Row(prompt) for prompt in list_prompts(prompts).texts]


def _weights(config: DictConfig, given: Any, key: str, stages: int) -> tuple[float, ...]:
    """The guidance weight of each stage that is sampled; the last one given serves all stages after it.

    Raises:
        UserError: for none, and for more than there are stages. Two weights are always accepted; with `stop_at`, any
            number. `key` is what the user calls them.
    """
    values = [float(value) for value in given] if isinstance(given, list | ListConfig) else [float(given)]
    if not values:
        raise UserError("guidance_weights=[]: give a number, or one for each stage as guidance_weights=[3,1.5]")
    if len(values) > max(stages, 2) and config.cascade.stop_at is None:
        raise UserError(f"{key}={given}: {len(values)} weights for {stages} stages; leave out the surplus")
    for value in values:
        check_guidance(value, rescale=0)
    return tuple(values[min(i, len(values) - 1)] for i in range(stages))


def _check_format(config: DictConfig) -> None:
    if config.format not in (PNG, WEBDATASET):
        raise UserError(f"format={config.format}: choose {PNG} or {WEBDATASET}")
    if config.format == WEBDATASET and config.embeddings is not None:
        raise UserError("format=webdataset holds captions, and embeddings= has none: give prompts, or take format=png")
