"""Alignment against fidelity for a trained cascade."""

from omegaconf import DictConfig, OmegaConf

from imagen.app.curves import make_curves, make_plan
from imagen.app.outputs import claimed, own_folder
from imagen.app.processes import helping_processes
from imagen.app.strips import strip_weights, write_strips
from imagen.errors import UserError
from imagen.evaluation.begun import keep_identity
from imagen.evaluation.budget import Budget
from imagen.evaluation.compare import load_side
from imagen.evaluation.compare_report import comparison_files, write_comparison
from imagen.evaluation.harness import Evaluation
from imagen.files import user_path
from imagen.instantiation import instantiate
from imagen.names import checked_name


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
    strip_weights(config)  # what cannot be is refused before the sampling
    evaluation, curves = make_evaluation(config), make_curves(config)
    plan = make_plan(config, curves)
    keep_identity(evaluation, plan)
    with helping_processes(config):
        write_strips(config, curves, evaluation.prompts.texts)
        made = evaluation.make(plan)
    evaluation.report(plan, made)
    print(f"report.html, report.md, results.json, sweep.csv and plots in {config.out}")
    print(f"  tensorboard --logdir {config.out}")


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
    names = [f"{name}" for name in config.compare] if OmegaConf.is_list(config.compare) else []
    if len(names) != 2:
        raise UserError(f"compare={config.compare}: give the names of two evaluations, e.g. compare=[one,other]")
    folder = user_path(config.paths.outputs) / "evaluation"
    one, other = (load_side(folder / checked_name(name, "compare"), name) for name in names)
    made_by = f"evaluate.py compare=[{names[0]},{names[1]}]"
    elsewhere = f"give the comparison a name of its own: name={'_and_'.join(names)}"
    with claimed(user_path(config.out), made_by, False, elsewhere) as mine:
        mine.begin(comparison_files(one, other))
        write_comparison(one, other, mine.folder)
    print(f"compare.html and compare.md in {config.out}")
