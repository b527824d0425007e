"""The model card of a judge of somebody's own pictures."""

from collections.abc import Iterator, Mapping
from typing import Any

from imagen.checks.names import printable
from imagen.checks.worlds import World
from imagen.evaluation.judges.record import JudgeRecord
from imagen.judging.retrieval import DIRECTIONS, RANKS, Retrieval

CARD = """\
# {name}

A small CLIPModel that says how well a picture fits its caption, and gives the features for a Fréchet distance. It is
for measuring generators of the pictures that it knows, never for training or guiding one. Its numbers are called
`fd[{name}]` and `align[{name}]`; they are not FID and not CLIP score, and compare only with others of the same judge.

Knows: {world}. Of other pictures its numbers mean nothing, and `evaluate.py` refuses them.

Trained from nothing on {pictures} captioned pictures by CLIP's symmetric contrastive loss, {seen} pictures in
{minutes:.1f} minutes on {device}; pictures were moved, enlarged and softened a little, words left out of captions.

Settings: {settings}.

## Does a caption find its picture?

Among {rows} validation rows, which it was not trained on, with Wilson's 95 % intervals:

| | R@1 | R@5 |
|:--|--:|--:|
{recalls}
| by chance | {chance_1:.3f} | {chance_5:.3f} |

A low recall does not forbid a Fréchet distance, whose features need not know words, but `align[{name}]` is then weak.

{parameters:,} parameters, stored in float16, computed with in float32; sha256 of model.safetensors: `{sha256}`.
"""


def own_card(record: JudgeRecord, retrieval: Retrieval, pictures: int, parameters: int, device: str) -> str:
    """The text of MODEL_CARD.md.

    Args:
        record: of the judge.
        retrieval: on validation rows.
        pictures: different ones that it was trained on.
        parameters: of the network.
        device: that it was trained on, in words.
    """
    rows = retrieval.rows
    lines = [
        f"| {direction} | " + " | ".join(_cell(retrieval, f"R@{rank}, {direction}") for rank in RANKS) + " |"
        for direction in DIRECTIONS
    ]
    settings = {key: value for key, value in (record.settings or {}).items() if key != "data"}
    return CARD.format(
        name=record.name,
        world=World.from_record(record.world, "world", "train the judge again"),
        pictures=f"{pictures:,}",
        seen=f"{record.pictures_seen or 0:,}",
        minutes=record.minutes,
        device=device,
        settings=printable(", ".join(_flat(settings))),
        rows=rows,
        recalls="\n".join(lines),
        chance_1=min(1.0, 1 / rows),
        chance_5=min(1.0, 5 / rows),
        parameters=parameters,
        sha256=record.weights_sha256,
    )


def _cell(retrieval: Retrieval, key: str) -> str:
    recall = retrieval.recalls[key]
    return f"{recall.estimate:.3f} [{recall.low:.3f}, {recall.high:.3f}]"


def _flat(settings: Mapping[str, Any]) -> Iterator[str]:
    """Nested settings as "name value", without the classes."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value)
        elif name != "_target_":
            yield f"{name} {value}"
