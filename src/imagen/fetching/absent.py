"""What to say, before anything slow is imported, of published weights that are not on this machine."""

from pathlib import Path

from imagen.errors import UserError
from imagen.fetching.lock import Asset, models_folder, read_lock


def fetched_folder(repository: str) -> Path | None:
    """Where `fetch` put the model of that hub name; None if it did not, or not all of it."""
    asset = asset_of(repository)
    if asset is None:
        return None
    folder = models_folder() / asset.id
    return folder if asset.present(folder) else None


def asset_of(repository: str) -> Asset | None:
    """The asset with that hub name or id; None if there is none in the lock file."""
    return next((asset for asset in read_lock().values() if repository in (asset.id, asset.repository)), None)


def absent_error(what: str, path: str | Path, name: str) -> UserError:
    """The error for a file or folder of `name`, an asset's id or hub name, that is not at `path`."""
    return UserError(
        f"{what} {path} does not exist: fetch it once with {how_to_fetch(name)}, or give another path", environment=True
    )


def how_to_fetch(name: str) -> str:
    """The commands that bring an asset of the lock file, its size, and where it goes; another's is `hf download`."""
    asset = asset_of(name)
    if asset is None:
        return f"`hf download {name}`"
    trust = "" if all(file.sha256 for file in asset.files) else " --trust-on-first-use"
    fetched = f"`imagen fetch {asset.id}{trust}` ({asset.size}, into {models_folder() / asset.id})"
    return f"{fetched} and convert it with `imagen convert {asset.id}`" if asset.pickled else fetched
