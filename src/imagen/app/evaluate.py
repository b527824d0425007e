"""Alignment against fidelity for a trained cascade."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager

from omegaconf import DictConfig, OmegaConf

from imagen.checks.names import checked_name
from imagen.commandline.outputs import Claim, claimed, own_folder
from imagen.errors import UserError
from imagen.evaluation.begun import keep_identity
from imagen.evaluation.compare.report import comparison_files, write_comparison
from imagen.evaluation.compare.sides import Side, load_side
from imagen.evaluation.compare.trainings_report import FILES, write_trainings
from imagen.evaluation.judges.extractor import left_out_lines
from imagen.evaluation.sweep.plan import TAUGHT
from imagen.evaluation.worlds import refuse_other_worlds, refuse_prompts_of_another_world
from imagen.files import user_path
from imagen.sampling.curves import make_curves, make_plan
from imagen.sampling.evaluation import make_evaluation
from imagen.sampling.processes import helping_processes
from imagen.sampling.strips import strip_weights, write_strips

log = logging.getLogger(__name__)


def evaluate(config: DictConfig) -> None:
    """Sample every cell of the sweep that is not there yet, measure, and write the report into `config.out`.

    Raises:
        UserError: for weights, prompts, judges or stages that cannot be used.
    """
    if config.name is None:
        raise UserError("name=null: give the evaluation a name")
    checked_name(f"{config.name}", "name")
    config, out = config.copy(), own_folder(config, varied_by=("name", "out"))
    config.out = str(out)
    if config.compare is not None:
        _compare(config)
        return
    if config.trainings is not None:
        _combine_trainings(config)
        return
    strip_weights(config)  # what cannot be is refused before the sampling
    evaluation = make_evaluation(config)
    curves = make_curves(config, evaluation.all_prompts)
    stages = [stage for curve in curves.values() for stage in curve.model.stages]
    refuse_other_worlds(evaluation.panel.everyone, stages, config.across_worlds)
    refuse_prompts_of_another_world(evaluation.all_prompts, stages, config.across_worlds)
    plan = make_plan(config, curves)
    for name in plan.taught_by(evaluation.panel.everyone):
        log.warning("judge %s", TAUGHT.format(name))
    for line in left_out_lines(evaluation.captions_too_long(), evaluation.count):
        log.warning("%s", line)
    keep_identity(evaluation, plan)
    with helping_processes(config):
        write_strips(config, curves, evaluation.prompts.texts)
        made = evaluation.make(plan)
    evaluation.report(plan, made)
    print(f"report.html, report.md, results.json, sweep.csv and plots in {config.out}")
    print(f"  tensorboard --logdir {config.out}")


def _compare(config: DictConfig) -> None:
    """Write compare.md and compare.html for the two finished evaluations that `config.compare` names."""
    one, other = sides = _finished(config, "compare")
    with _own(config, "compare", sides, "_and_") as mine:
        mine.begin(comparison_files(one, other))
        write_comparison(one, other, mine.folder)
    print(f"compare.html and compare.md in {config.out}")


def _combine_trainings(config: DictConfig) -> None:
    """Write trainings.md for the finished evaluations that `config.trainings` names."""
    sides = _finished(config, "trainings")
    with _own(config, "trainings", sides, "_") as mine:
        mine.begin(FILES)
        write_trainings(sides, mine.folder)
    print(f"trainings.md and plots in {config.out}")


def _finished(config: DictConfig, key: str) -> list[Side]:
    """The finished evaluations that `config[key]` names: exactly two to compare, any number of trainings."""
    names = [f"{name}" for name in config[key]] if OmegaConf.is_list(config[key]) else []
    if len(names) != 2 and (key == "compare" or len(names) < 2):
        least = "two evaluations" if key == "compare" else "two evaluations or more"
        raise UserError(f"{key}={config[key]}: give the names of {least}, e.g. {key}=[one,other]")
    folder = user_path(config.paths.outputs) / "evaluation"
    return [load_side(folder / checked_name(name, key), name) for name in names]


def _own(config: DictConfig, key: str, sides: Sequence[Side], joined: str) -> AbstractContextManager[Claim]:
    """The folder of what is made of `sides`, for this run alone."""
    names = [side.name for side in sides]
    made_by = f"evaluate.py {key}=[{','.join(names)}]"
    return claimed(
        user_path(config.out), made_by, False, f"give the comparison a name of its own: name={joined.join(names)}"
    )
