"""The record of a judge that this project trained: `judge.json` beside its weights, outside its identity.

It says which pictures the judge knows. Numbers on others mean nothing, and are refused (`imagen.evaluation.worlds`).
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imagen.checks.foreign import checked_record, read_json
from imagen.checks.names import checked_name
from imagen.checks.worlds import World
from imagen.errors import UserError
from imagen.files import write_json

FILE = "judge.json"
WAY_OUT = "train the judge again, or remove the file"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class JudgeRecord:
    """Plain JSON.

    Args:
        name: what its numbers are called after, such as `my-a`.
        world: the record of the pictures that it was trained on.
        weights_sha256: of model.safetensors.
        source: configuration of the source of its training pictures; None for judges of the shapes world.
        retrieval: measured on validation rows: `rows`, and for every recall its `value`, `low` and `high`.
        pictures_seen: in training, repeats included.
        minutes: of training.
        settings: everything else that the weights depend on.
        format_version: of this record.
    """

    name: str
    world: dict[str, Any]
    weights_sha256: str
    source: dict[str, Any] | None = None
    retrieval: dict[str, Any] | None = None
    pictures_seen: int | None = None
    minutes: float | None = None
    settings: dict[str, Any] | None = None
    format_version: int = FORMAT_VERSION

    def write(self, folder: Path) -> None:
        write_json(asdict(self), folder / FILE)


def read_record(folder: Path) -> JudgeRecord | None:
    """The record of the judge in `folder`; None if it has none.

    Raises:
        UserError: if it is damaged, or of a newer format.
    """
    path = folder / FILE
    try:
        fields = read_json(path, WAY_OUT, max_bytes=1 << 20)
    except FileNotFoundError:
        return None
    version = fields.get("format_version", FORMAT_VERSION) if isinstance(fields, dict) else FORMAT_VERSION
    if version != FORMAT_VERSION:
        raise UserError(f"{path}: format_version {version!r:.60}, this version reads {FORMAT_VERSION}: {WAY_OUT}")
    record = checked_record(JudgeRecord, fields, str(path), WAY_OUT)
    checked_name(record.name, f"{path}: name")
    World.from_record(record.world, f"{path}: world", WAY_OUT)
    return record


def world_of_judge(folder: Path, weights_sha256: str) -> World | None:
    """The pictures that the judge in `folder`, with these weights, was trained on; None if it has no record.

    Raises:
        UserError: if the record is damaged, or of other weights.
    """
    record = read_record(folder)
    if record is None:
        return None
    if record.weights_sha256 != weights_sha256:
        raise UserError(
            f"{folder / FILE} is the record of other weights (sha256 {record.weights_sha256:.12}…, here "
            f"{weights_sha256:.12}…); {WAY_OUT}"
        )
    return World.from_record(record.world, f"{folder / FILE}: world", WAY_OUT)
