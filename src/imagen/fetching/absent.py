"""Error messages for published weights that are not on this machine. Imports nothing slow."""

from pathlib import Path

from imagen.errors import UserError
from imagen.fetching.lock import Asset, models_folder, read_lock


def fetched_folder(repository: str) -> Path | None:
    """The folder with the fetched model of that hub name; None if it is missing or incomplete."""
    asset = asset_of(repository)
    if asset is None:
        return None
    folder = models_folder() / asset.id
    return folder if asset.present(folder) else None


def asset_of(repository: str) -> Asset | None:
    """The asset with that hub name or id; None if the lock file has none."""
    return next((asset for asset in read_lock().values() if repository in (asset.id, asset.repository)), None)


def absent_error(kind: str, path: str | Path, name: str) -> UserError:
    """The error for a missing file or folder at `path` that belongs to `name`, an asset's id or hub name."""
    return UserError(
        f"{kind} {path} does not exist: fetch it once with {how_to_fetch(name)}, or give another path", environment=True
    )


def how_to_fetch(name: str) -> str:
    """The command that fetches an asset of the lock file, its size and folder; `hf download` for any other model."""
    asset = asset_of(name)
    if asset is None:
        return f"`hf download {name}`"
    trust = "" if all(file.sha256 for file in asset.files) else " --trust-on-first-use"
    fetched = f"`imagen fetch {asset.id}{trust}` ({asset.size}, into {models_folder() / asset.id})"
    return f"{fetched} and convert it with `imagen convert {asset.id}`" if asset.pickled else fetched
