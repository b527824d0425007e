"""An evaluation from its configuration."""

from omegaconf import DictConfig

from imagen.evaluation.evaluation import Evaluation
from imagen.evaluation.results.budget import Budget
from imagen.files import user_path
from imagen.instantiation import instantiate


def make_evaluation(config: DictConfig) -> Evaluation:
    """Judges, checker, prompts and reference that `config` names, in `config.out`.

    Raises:
        UserError: for what is missing, damaged or out of range.
    """
    return Evaluation(
        judges=instantiate(config.metrics.judges),
        checker=instantiate(config.metrics.checker),
        prompts=instantiate(config.prompts).repeated(config.pictures_per_prompt),
        reference=instantiate(config.metrics.reference),
        out=user_path(config.out),
        block_size=config.block_size,
        seed=config.seed,
        grid_prompts=config.grid_prompts,
        budget=None if config.budget is None else Budget(config.budget, config.first_pass),
        training=None if config.metrics.get("training") is None else instantiate(config.metrics.training),
    )
