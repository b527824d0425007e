"""Numbers that mean nothing are refused: those of judges that know other pictures than the stages were trained on, and
those of prompts about other pictures."""

import logging
from collections.abc import Iterable, Sequence

from imagen.checks.worlds import World
from imagen.data.openmoji.source import OPENMOJI
from imagen.data.shapes_source import SHAPES
from imagen.errors import UserError
from imagen.evaluation.judges.extractor import Judge
from imagen.evaluation.prompts.prompt_set import PromptSet
from imagen.stages.export import StageDescription

log = logging.getLogger(__name__)

SHIPPED = {SHAPES: "metrics=shapes prompts=shapes", OPENMOJI: "metrics=openmoji prompts=openmoji"}
"""What measures stages of a world that this project has judges and prompts for."""

JUDGES = "metrics=own with judges of those pictures (imagen train-judge) or metrics=published"
PROMPTS = "prompts=file prompts.path=..."


def refuse_other_worlds(judges: Sequence[Judge], stages: Iterable[StageDescription], insist: bool) -> None:
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
            line = f"judge {judge.name} knows {judge.world}, and stage {name} was trained on {world}"
            _compare(judge.world, world, line, JUDGES, insist)


def refuse_prompts_of_another_world(prompts: PromptSet, stages: Iterable[StageDescription], insist: bool) -> None:
    """The same for prompts that are captions of a world's pictures, such as the default ones. Others may be about
    anything.

    Raises:
        UserError: for the first stage that was trained on other pictures, naming both.
    """
    if prompts.world is None:
        return
    for name, world in sorted({(stage.name, stage.world) for stage in stages}, key=str):
        if world is not None:
            line = f"the prompts are captions of {prompts.world}, and stage {name} was trained on {world}"
            _compare(prompts.world, world, line, PROMPTS, insist)


def _compare(known: World, world: World, line: str, way_out: str, insist: bool) -> None:
    same = known.is_same(world)
    if same is None:
        log.warning("%s: whether these are the same pictures is not known", line)
    if same is not False:
        return
    if not insist:
        taken = SHIPPED.get(world, way_out)
        raise UserError(f"{line}: the numbers would mean nothing; take {taken}, or insist with across_worlds=true")
    log.warning("%s: the numbers mean nothing (across_worlds=true)", line)
