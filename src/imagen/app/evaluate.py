"""Alignment against fidelity for a trained cascade."""

from omegaconf import DictConfig, OmegaConf

from imagen.checks.names import checked_name
from imagen.commandline.outputs import claimed, own_folder
from imagen.errors import UserError
from imagen.evaluation.begun import keep_identity
from imagen.evaluation.compare.report import comparison_files, write_comparison
from imagen.evaluation.compare.sides import load_side
from imagen.evaluation.worlds import refuse_other_worlds, refuse_prompts_of_another_world
from imagen.files import user_path
from imagen.sampling.curves import make_curves, make_plan
from imagen.sampling.evaluation import make_evaluation
from imagen.sampling.processes import helping_processes
from imagen.sampling.strips import strip_weights, write_strips


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
    stages = [stage for curve in curves.values() for stage in curve.model.stages]
    refuse_other_worlds(evaluation.panel.judges, stages, config.across_worlds)
    refuse_prompts_of_another_world(evaluation.all_prompts, stages, config.across_worlds)
    plan = make_plan(config, curves)
    keep_identity(evaluation, plan)
    with helping_processes(config):
        write_strips(config, curves, evaluation.prompts.texts)
        made = evaluation.make(plan)
    evaluation.report(plan, made)
    print(f"report.html, report.md, results.json, sweep.csv and plots in {config.out}")
    print(f"  tensorboard --logdir {config.out}")


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
