"""Which trained stages to sample from (the newest, folders, or a repository of the model hub), and their weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from imagen.checks.names import printable
from imagen.errors import UserError
from imagen.fetching.absent import absent_error, published_model
from imagen.files import user_path
from imagen.published.folder import is_published
from imagen.published.text import PublishedText
from imagen.runs.find import find_stages
from imagen.runs.weights import load_weights
from imagen.sampling.command import PRIOR, ROLES
from imagen.stages.export import CARD, CONFIG, WEIGHTS, TrainedStage, read_description
from imagen.text.model_files import HUB_NAME, REVISION, is_folder


def newest_stages(runs: Path, shipped: Path, names: list[str] | None = None) -> list[Path]:
    """Folders of the newest finished stages below `runs` that fit together, smallest first, or of the `shipped` ones.

    Args:
        names: runs to take the stages from; None takes the newest of each.

    Raises:
        UserError: where there is no finished base stage and nothing shipped, or none of these `names`.
    """
    if not shipped.is_dir() and not any(runs.glob(f"*/*/export/{CONFIG}")):
        raise UserError(
            f"no finished stages below {runs}, and no shipped ones: {shipped} is missing. It comes with a checkout of "
            "the project, not with an installed package; give the folders of exported stages"
        )
    folders = find_stages(runs, shipped, names)
    if not folders:
        raise UserError(f"no finished base stage under {runs}; train one with python train.py stage=base")
    return folders


def stage_folders(place: str | Path, revision: str | None = None, download: bool = False) -> list[Path]:
    """The stages in one place, smallest first.

    Args:
        place: an exported stage, a checkpoint of a run (*.ckpt), a published stage (DeepFloyd IF's), a folder with a
            sub-folder for each stage (prior, base, sr1, sr2), or OWNER/NAME of such a folder on the model hub.
        revision: of a repository: a branch, a tag or a commit.
        download: whether the hub's client may open connections; else the repository must be in its cache.

    Raises:
        UserError: if there is no such place, or no stage in it.
    """
    folder = user_path(place)
    if folder.suffix == ".ckpt":
        return [folder]
    if not is_folder(folder):
        folder = _from_the_hub(str(place), revision, download)
    elif revision is not None:
        raise UserError(f"revision={revision}: {place} is a folder of this machine, which has none; leave it out")
    if (folder / CONFIG).is_file() or is_published(folder):
        return [folder]
    stages = [folder / role for role in (PRIOR, *ROLES) if (folder / role / CONFIG).is_file()]
    if not stages:
        raise UserError(f"{place}: no exported stage ({CONFIG} is missing, and so is base/{CONFIG}); give its folder")
    return stages


def _from_the_hub(name: str, revision: str | None, download: bool) -> Path:
    """The files of exported stages in a repository of the hub, and nothing else of it."""
    if not HUB_NAME.fullmatch(name):
        raise UserError(
            f"{printable(name):.120}: no such folder; give the folder of an exported stage, or OWNER/NAME on the hub"
        )
    if revision is not None and not (isinstance(revision, str) and REVISION.fullmatch(revision)):
        raise UserError(f"{name}: revision={revision!r:.60} is no branch, tag or commit; leave it out for the newest")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = [
        f"{stage}{file}"
        for stage in ("", *(f"{role}/" for role in (PRIOR, *ROLES)))
        for file in (CONFIG, WEIGHTS, CARD)
    ]
    at = f"{name}@{revision}" if revision else name
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=not download, allow_patterns=wanted))
    except HFValidationError as error:
        raise UserError(f"{at}: {' '.join(str(error).split())}; give OWNER/NAME on the hub") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        way_out = "check the name and the connection" if download else "download=True fetches it once"
        raise UserError(
            f"{at}: no such folder, and not in the cache of the model hub; {way_out}", environment=True
        ) from error


def load_stages(
    folders: Sequence[Path],
    weights: str,
    device: torch.device,
    stop_at: str | None = None,
    prefix: str = "",
    text: Mapping[str, Any] | None = None,
) -> list[TrainedStage]:
    """The stages in `folders`, in order, up to the one called `stop_at`; None loads all.

    `text` is the section of the configuration, of which published stages take their encoder (`PublishedText.of`).

    Raises:
        UserError: for what cannot be loaded, and for a `stop_at` that is not among them. `prefix` is what the user
            writes before `weights` and `stop_at`.
    """
    for folder in folders:
        if not folder.exists() and published_model(folder.name) is not None:
            raise absent_error("stage", folder, folder.name)
    published = [folder for folder in folders if is_published(folder)]
    encoder = PublishedText.of(text or {}, published, _texts_of(folders)) if published else None
    stages: list[TrainedStage] = []
    for folder in folders:
        before = stages[-1].description.resolution if stages else None
        stages.append(load_weights(folder, weights, device, prefix, encoder, before))
        if stages[-1].description.name == stop_at:
            return stages
    if stop_at is not None:
        names = ", ".join(stage.description.name for stage in stages)
        raise UserError(f"{prefix}stop_at={stop_at}: no such stage here; choose one of {names}")
    return stages


def _texts_of(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """What the exported stages among `folders` record of their text sources."""
    exports = [folder for folder in folders if (folder / CONFIG).is_file()]
    return [record for folder in exports if (record := read_description(folder).text_source) is not None]
