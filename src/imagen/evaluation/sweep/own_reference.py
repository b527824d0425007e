"""The pictures that judges of one's own were trained on, as the reference of their distances."""

from pathlib import Path

from imagen.data.image_folder import ImageFolderSource
from imagen.data.source import Source
from imagen.errors import UserError
from imagen.evaluation.judges.own import own_records
from imagen.evaluation.judges.record import FILE
from imagen.evaluation.sweep.reference import SourceReference
from imagen.instantiation import instantiate_source


def own_reference(
    folder: str | Path,
    run: str | int | None = None,
    path: str | None = None,
    source: Source | None = None,
    count: int | None = None,
    min_side: int | None = None,
) -> SourceReference:
    """The training pictures of the judges that `own_judges` takes with the same `folder` and `run`, or others.

    Args:
        folder: with a sub-folder for each training of judges.
        run: name of the training; None takes the newest.
        path: a folder of other pictures, with metadata.jsonl.
        source: any other source of pictures.
        count: of pictures; None takes all.
        min_side: passes over pictures with fewer pixels along a side.

    Raises:
        UserError: if the pictures are not there any more, or both `path` and `source` are given.
    """
    if path is not None and source is not None:
        raise UserError("metrics.reference: give path or source, not both")
    if path is not None:
        source = ImageFolderSource(path)
    return SourceReference(source or _of_judges(folder, run), count, min_side)


def _of_judges(folder: str | Path, run: str | int | None) -> Source:
    place, record = next(iter(own_records(folder, run).items()))
    other = "give others with metrics.reference.path=/my/pictures"
    if record.source is None:
        raise UserError(f"{place / FILE} does not say where its pictures are: {other}")
    try:
        source = instantiate_source(record.source, f"{place / FILE}: source")
    except UserError as error:
        raise UserError(f"{error} (recorded in {place / FILE}); {other}", environment=error.environment) from error
    if not isinstance(source, Source):
        raise UserError(f"{place / FILE}: source describes a {type(source).__name__}, no pictures: {other}")
    return source
