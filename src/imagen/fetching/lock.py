"""The lock file of published weights: models, addresses, sizes and hashes."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagen.checks.arguments import fits
from imagen.checks.foreign import read_json
from imagen.checks.names import is_name
from imagen.errors import UserError
from imagen.files import user_path
from imagen.places import ROOT

LOCK = ROOT / "models.lock"


@dataclass(frozen=True)
class LockedFile:
    """One file. `sha256` (64 hexadecimal digits) and `bytes` are None if no source states them."""

    name: str
    url: str
    revision: str
    sha256: str | None
    bytes: int | None
    licence: str


@dataclass(frozen=True)
class PublishedModel:
    """The files of one model, kept in the folder `<models>/<id>`; `repository` is its name on the model hub. `gated`:
    what one does to be given its files, if they are not given to everybody."""

    id: str
    about: str
    repository: str | None
    use: str
    approximate_bytes: int
    files: tuple[LockedFile, ...]
    gated: str | None = None

    def way_in(self, models: Path) -> str:
        """How to get the files of a gated model into `models`."""
        names = " ".join(file.name for file in self.files)
        return (
            f"{self.gated}, then `hf download {self.repository} {names} --local-dir {models / self.id}` with your "
            f"token, or `imagen fetch {self.id} --from FOLDER --trust-on-first-use` with a copy of yours"
        )

    @property
    def licences(self) -> str:
        return ", ".join(sorted({file.licence for file in self.files}))

    @property
    def size(self) -> str:
        """The size for display: "1.7 GB", or "about 45 GB" if the lock file lacks the size of a file."""
        known = all(file.bytes is not None for file in self.files)
        return f"{'' if known else 'about '}{in_units(self.approximate_bytes)}"

    @property
    def pickled(self) -> bool:
        """Whether its weights must be converted before use."""
        names = [file.name for file in self.files]
        return "pytorch_model.bin" in names and not any(name.endswith(".safetensors") for name in names)

    def present(self, folder: Path) -> bool:
        """Whether every file is in `folder`; contents are not read."""
        return all((folder / file.name).is_file() for file in self.files)


def models_folder() -> Path:
    """The folder of fetched weights: the environment variable IMAGEN_MODELS, else models/ in the project."""
    return user_path(os.environ.get("IMAGEN_MODELS") or ROOT / "models")


def read_lock(path: Path = LOCK) -> dict[str, PublishedModel]:
    """The models of a lock file by id.

    Raises:
        UserError: if it cannot be read, or a file in it would be written outside its model's folder.
    """
    try:
        published = read_json(path, "restore it")["models"]
        return {name: _model(name, node) for name, node in published.items()}
    except OSError as error:
        raise UserError(f"lock file {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"lock file {path} is damaged ({type(error).__name__}: {error}); restore it") from error


def find_model(name: str, published: Mapping[str, PublishedModel]) -> PublishedModel:
    """The model with that id or hub name. Raises UserError that suggests the nearest id."""
    for model in published.values():
        if name in (model.id, model.repository):
            return model
    near = difflib.get_close_matches(name, published, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UserError(f"{name}: no such model; {hint}there are {', '.join(published)}")


def in_units(count: int) -> str:
    """A number of bytes with a unit, to three digits."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def _model(name: str, node: Mapping[str, Any]) -> PublishedModel:
    facts = {field: node[field] for field in ("about", "repository", "use", "approximate_bytes")}
    gated = node.get("gated")
    if not fits(gated, str | None):
        raise TypeError(f"{name}: gated is {gated!r:.60}, no text")
    files = tuple(_file(entry) for entry in node["files"])
    return PublishedModel(id=_inside(name), files=files, gated=gated, **facts)


def _file(entry: Mapping[str, Any]) -> LockedFile:
    fields = ("url", "revision", "sha256", "bytes", "licence")
    return LockedFile(_inside(entry["name"]), *(entry[field] for field in fields))


def _inside(name: str) -> str:
    """Return `name` if it is a file's name, or a path of such names with `/` between them, which stays in its folder on
    any system; otherwise raise UserError."""
    if not isinstance(name, str) or not all(map(is_name, name.split("/"))):
        raise UserError(f"lock file: {name!r:.120} leads out of its folder, or is no name; restore the lock file")
    return name
