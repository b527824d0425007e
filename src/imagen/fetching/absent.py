"""Error messages for published weights that are not on this machine. Imports nothing slow."""

from pathlib import Path

from imagen.errors import UserError
from imagen.fetching.lock import PublishedModel, models_folder, read_lock


def fetched_folder(repository: str) -> Path | None:
    """The folder with the fetched model of that hub name; None if it is missing or incomplete."""
    model = published_model(repository)
    if model is None:
        return None
    folder = models_folder() / model.id
    return folder if model.present(folder) else None


def published_model(repository: str) -> PublishedModel | None:
    """The model with that hub name or id; None if the lock file has none."""
    return next((model for model in read_lock().values() if repository in (model.id, model.repository)), None)


def absent_error(kind: str, path: str | Path, name: str) -> UserError:
    """The error for a missing file or folder at `path` that belongs to `name`, a model's id or hub name."""
    return UserError(
        f"{kind} {path} does not exist: fetch it once with {how_to_fetch(name)}, or give another path", environment=True
    )


def how_to_fetch(name: str) -> str:
    """The command that fetches a model of the lock file, its size and folder, and whether it is gated; `hf download`
    for any other model."""
    model = published_model(name)
    if model is None:
        return f"`hf download {name}`"
    trust = "" if all(file.sha256 for file in model.files) else " --trust-on-first-use"
    gated = f"; gated: first {model.gated}, and the command says the rest" if model.gated else ""
    fetched = f"`imagen fetch {model.id}{trust}` ({model.size}, into {models_folder() / model.id}{gated})"
    return f"{fetched} and convert it with `imagen convert {model.id}`" if model.pickled else fetched
