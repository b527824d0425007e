"""Alignment against fidelity for a trained cascade."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from imagen.app.curves import make_curves, make_plan
from imagen.app.processes import helping_processes
from imagen.app.strips import write_strips
from imagen.errors import UserError
from imagen.evaluation.budget import Budget
from imagen.evaluation.compare import load_side
from imagen.evaluation.compare_report import write_comparison
from imagen.evaluation.harness import Evaluation
from imagen.files import user_path
from imagen.instantiation import instantiate


def evaluate(config: DictConfig) -> None:
    """Sample every cell of the sweep that is not there yet, measure, and write the report into `config.out`.

    Raises:
        UserError: for weights, prompts, judges or stages that cannot be used.
    """
    if config.compare is not None:
        _compare(config)
        return
    evaluation, curves = make_evaluation(config), make_curves(config)
    plan = make_plan(config, curves)
    with helping_processes(config):
        write_strips(config, curves, evaluation.prompts.texts)
        made = evaluation.make(plan)
    evaluation.report(plan, made)
    print(f"report.md, results.json, sweep.csv and plots in {config.out}\n  tensorboard --logdir {config.out}")


def make_evaluation(config: DictConfig) -> Evaluation:
    """Judges, checker, prompts and reference that `config` names, in `config.out`.

    Raises:
        UserError: for what is missing, damaged or out of range.
    """
    return Evaluation(
        judges=instantiate(config.metrics.judges),
        checker=instantiate(config.metrics.checker),
        prompts=instantiate(config.prompts),
        reference=instantiate(config.metrics.reference),
        out=user_path(config.out),
        block_size=config.block_size,
        seed=config.seed,
        grid_prompts=config.grid_prompts,
        budget=None if config.budget is None else Budget(config.budget, config.first_pass),
    )


def _compare(config: DictConfig) -> None:
    """Write compare.md and compare.html for the two finished evaluations that `config.compare` names."""
    names = [str(name) for name in config.compare] if OmegaConf.is_list(config.compare) else []
    if len(names) != 2:
        raise UserError(f"compare={config.compare}: give the names of two evaluations, e.g. compare=[one,other]")
    one, other = (
        load_side(user_path(config.paths.outputs) / "evaluation" / user_path(name), Path(name).name) for name in names
    )
    write_comparison(one, other, user_path(config.out))
    print(f"compare.html and compare.md in {config.out}")
