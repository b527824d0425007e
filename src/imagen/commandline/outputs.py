"""Folders of results: one for each run, and no run overwrites the files of another unless it is told to.

A command claims its folder before its work. It writes there the list of its files, so that they, and nothing else, can
be replaced later.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path, PurePosixPath

from omegaconf import DictConfig

from imagen.checks.foreign import checked_record, read_json
from imagen.checks.names import printable
from imagen.errors import UserError
from imagen.files import user_path, write_json
from imagen.instantiation import as_dict

LIST = "files.json"
"""Who wrote into a folder, and what."""


def own_folder(config: DictConfig, varied_by: Sequence[str] = ("out",)) -> Path:
    """The folder of this run alone, from `config.out`.

    In a multirun the number of the job is appended. A name made of the time is followed by _2, _3, … if another run has
    it already; such a folder is made here.

    Args:
        varied_by: keys that name the folder; where the jobs differ in one of them, no number is appended.

    Raises:
        UserError: for an empty `out`.
    """
    if not isinstance(config.out, str) or not config.out:
        raise UserError(f"out={config.out}: give the folder to write into")
    number = _job_number()
    folder = user_path(f"{config.out}" if number is None or _varied(varied_by) else f"{config.out}-{number}")
    dated = "${now:" in str(as_dict(config, resolve=False)["out"])
    return fresh_folder(folder) if dated else folder


def _job_number() -> int | None:
    """The number of this job of a multirun, None outside of one."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return HydraConfig.get().job.num


def _varied(keys: Sequence[str]) -> bool:
    """Whether the command line gives one of `keys` several values, or one made of other keys."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    for argument in sys.argv[1:]:
        if argument.partition("=")[0].lstrip("+") in keys:
            with suppress(OverrideParseException):
                (override,) = OverridesParser.create().parse_overrides([argument])
                if override.is_sweep_override() or "${" in argument:
                    return True
    return False


def fresh_folder(wanted: Path) -> Path:
    """`wanted`, or the first of `wanted`_2, _3, … that is not there: made here, so that nobody else has it."""
    wanted.parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError("endless")


@dataclass(frozen=True)
class FileList:
    """The content of `LIST`: `made_by`, equal for runs that write the same, and files relative to the folder."""

    made_by: str
    files: list[str]


@dataclass(frozen=True)
class Claim:
    """A folder that `made_by` may write to. `earlier`: files of the run that it replaces."""

    folder: Path
    made_by: str
    earlier: Sequence[str]

    def begin(self, files: Sequence[str], keeping: bool = False) -> None:
        """Remove the files of the earlier run and note those that are about to be written.

        Args:
            keeping: whether to leave the files of the earlier run if it was to write exactly these.

        Raises:
            UserError: if another run claimed the folder meanwhile, or the earlier files lie behind a link.
        """
        if read_list(self.folder).made_by != self.made_by:
            raise UserError(f"{self.folder} was taken over by another run meanwhile; nothing was written there")
        _refuse_links(self.folder, [*self.earlier, *files])
        if keeping and list(self.earlier) == list(files):
            return
        _remove(self.folder, self.earlier)
        write_json(asdict(FileList(self.made_by, list(files))), self.folder / LIST)


@contextmanager
def claimed(
    folder: Path, made_by: str, overwrite: bool, elsewhere: str, instead: str = "remove them"
) -> Iterator[Claim]:
    """Claims `folder`, creating it if needed. If the body fails before writing, the claim is removed.

    Args:
        made_by: identifies the command; a folder with the same `made_by` may be reused.
        overwrite: whether the files of another run that left its list there may be replaced.
        elsewhere: end of the error: how to write into another folder.
        instead: end of the error: how to replace the files of another run.

    Raises:
        UserError: if there is something in it that may not be replaced, naming it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mine = Claim(folder, made_by, _claim(folder, made_by, overwrite, elsewhere, instead))
    try:
        yield mine
    except BaseException:
        with suppress(OSError, UserError):
            if read_list(folder) == FileList(made_by, []):
                (folder / LIST).unlink()
                folder.rmdir()
        raise


def _claim(folder: Path, made_by: str, overwrite: bool, elsewhere: str, instead: str) -> list[str]:
    """Put our name on the list in `folder`; the files of the earlier run."""
    there = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if LIST in there:
        earlier = read_list(folder)
        if earlier.made_by != made_by and not overwrite:
            raise UserError(
                f"{folder} holds the files of another run ({printable(earlier.made_by)}); {elsewhere}, or {instead}"
            )
        write_json(asdict(FileList(made_by, earlier.files)), folder / LIST)
        return earlier.files
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise UserError(f"{folder} holds {printable(there[0])}{more} that no {LIST} lists; {elsewhere}, or remove them")
    try:
        with (folder / LIST).open("x", encoding="utf-8") as file:  # of two that start at once, one is refused
            json.dump(asdict(FileList(made_by, [])), file)
    except FileExistsError:
        raise UserError(f"{folder} was taken by another run just now; {elsewhere}") from None
    return []


def read_list(folder: Path) -> FileList:
    """The list of the run that wrote into `folder`.

    Raises:
        UserError: if it is none, or names files outside of the folder.
    """
    path, way_out = folder / LIST, "give another folder, or remove this one"
    try:
        listed = checked_record(FileList, read_json(path, way_out), str(path), way_out)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {way_out}") from None
    for file in listed.files:
        if not all(part and part[0] != "." and part.isprintable() for part in file.split("/")):
            raise UserError(f"{path} names {file!r:.120}, which no run writes; {way_out}")
    return listed


def _refuse_links(folder: Path, files: Sequence[str]) -> None:
    """Raises UserError where one of `files` would be written or removed behind a link that stands in `folder`."""
    for parent in _parents(files):
        if (folder / parent).is_symlink():
            raise UserError(f"{folder / parent} is a symbolic link, and what lies behind it is left alone; remove it")


def _parents(files: Sequence[str]) -> set[PurePosixPath]:
    """The folders between a folder and its `files`."""
    return {parent for file in files for parent in PurePosixPath(file).parents if parent.parts}


def _remove(folder: Path, files: Sequence[str]) -> None:
    """Take away `files` of `folder`, and the folders that are empty then."""
    for file in files:
        (folder / file).unlink(missing_ok=True)
    for parent in sorted(_parents(files), key=lambda parent: len(parent.parts), reverse=True):
        with suppress(OSError):
            (folder / parent).rmdir()
