"""Numbers that mean nothing are refused: those of judges that know other pictures than the stages were trained on."""

import logging
from collections.abc import Iterable, Sequence

from imagen.checks.worlds import World
from imagen.errors import UserError
from imagen.evaluation.judges.extractor import Extractor
from imagen.stages.export import StageDescription

log = logging.getLogger(__name__)


def refuse_other_worlds(judges: Sequence[Extractor], stages: Iterable[StageDescription], insist: bool) -> None:
    """Compare what judges and stages were trained on. What has no record of that gets a line of warning.

    Args:
        judges: of the evaluation.
        stages: of all its cascades.
        insist: whether a difference is a warning and no error.

    Raises:
        UserError: for the first judge that knows other pictures than a stage was trained on, naming both.
    """
    stages = list(stages)
    worlds = {(stage.name, world) for stage in stages if (world := stage.world) is not None}
    for name in sorted({stage.name for stage in stages if stage.world is None}):
        log.warning("stage %s does not say what it was trained on: whether the judges know it is not known", name)
    for judge in judges:
        if judge.world is None:
            log.warning("judge %s does not say which pictures it knows: its numbers may mean nothing here", judge.name)
            continue
        for name, world in sorted(worlds, key=str):
            _compare(judge.name, judge.world, name, world, insist)


def _compare(judge: str, known: World, stage: str, world: World, insist: bool) -> None:
    same = known.is_same(world)
    line = f"judge {judge} knows {known}, and stage {stage} was trained on {world}"
    if same is None:
        log.warning("%s: whether these are the same pictures is not known", line)
    if same is not False:
        return
    if not insist:
        raise UserError(
            f"{line}: its numbers would mean nothing; take metrics=own with judges of those pictures (imagen "
            "train-judge) or metrics=published, or insist with across_worlds=true"
        )
    log.warning("%s: its numbers mean nothing (across_worlds=true)", line)
