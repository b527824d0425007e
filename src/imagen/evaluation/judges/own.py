"""Judges that `imagen train-judge` trained, found in the folder of runs."""

from pathlib import Path

from imagen.checks.arguments import Count
from imagen.checks.names import as_name
from imagen.errors import UserError
from imagen.evaluation.judges.answerer import Answerer
from imagen.evaluation.judges.clip import ClipJudge
from imagen.evaluation.judges.extractor import Judge
from imagen.evaluation.judges.record import FILE, JudgeRecord, read_record
from imagen.files import user_path

TRAIN = "train judges of your pictures with imagen train-judge data=image_folder data.path=/my/pictures"


def own_judges(
    folder: str | Path, run: str | int | None = None, batch_size: Count = 64, vlm: Answerer | None = None
) -> dict[str, Judge]:
    """The judges of one training, by their names; which it is, is printed.

    Args:
        folder: with a sub-folder for each training, and in that one for each judge.
        run: name of the training; None takes the one with the newest judge.
        batch_size: pictures at a time.
        vlm: a vision-language model beside them (`metrics/vlm=folder`).

    Raises:
        UserError: if there is none, or one is damaged.
    """
    records = own_records(folder, run)
    place = next(iter(records)).parent
    print(f"judges: {place} ({'newest' if run is None else 'named'})", flush=True)
    judges = {record.name: ClipJudge(path, record.name, batch_size=batch_size) for path, record in records.items()}
    return {**judges, **({} if vlm is None else {vlm.name: vlm})}


def own_records(folder: str | Path, run: str | int | None = None) -> dict[Path, JudgeRecord]:
    """The folders of the judges that `own_judges` takes, in the order of their names, with their records."""
    folder = user_path(folder)
    pattern = "*" if run is None else as_name(run, "metrics.run")
    found = [path.parent for path in folder.glob(f"{pattern}/*/{FILE}")]
    if not found:
        missing = folder if run is None else folder / pattern
        others = ", ".join(sorted({path.parent.parent.name for path in folder.glob(f"*/*/{FILE}")}))
        raise UserError(
            f"{missing} holds no judge: {TRAIN} name={'my' if run is None else pattern}, or set metrics.run"
            + (f" to one of {others}" if others else "")
        )
    newest = max(found, key=lambda path: (path / FILE).stat().st_mtime_ns).parent
    records = {path: read_record(path) for path in sorted(found) if path.parent == newest}
    return {path: record for path, record in records.items() if record is not None}
