"""The files of a pre-trained text encoder: where they are, what is in them, whether they are the same."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imagen.errors import UserError
from imagen.fetching.absent import fetched_folder, how_to_fetch
from imagen.files import sha256_of_file

_TOKENIZER_FILES = (
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)


class MissingAssetError(UserError):
    """Files of a pre-trained model are not on this machine."""

    def __init__(self, message: str) -> None:
        super().__init__(message, environment=True)


def resolve_folder(path: str, revision: str | None, local_files_only: bool) -> Path:
    """The folder that holds the model `path`: itself if it is one, else what `imagen.app.fetch` or the hub's client
    put on this machine.

    Opens no connection when `local_files_only`.

    Raises:
        MissingAssetError: naming the model and the way out.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if revision is None and (fetched := fetched_folder(path)):
        return fetched
    if folder.is_absolute() or path.count("/") != 1:
        raise MissingAssetError(
            f"text encoder {path}: no such folder; set text.encoder.path to a folder or a hub model"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = ["config.json", "*.safetensors", "model.safetensors.index.json", *_TOKENIZER_FILES]
    try:
        return Path(
            snapshot_download(path, revision=revision, local_files_only=local_files_only, allow_patterns=wanted)
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        at = f"{path}@{revision}" if revision else path
        raise MissingAssetError(
            f"text encoder {at} is not on this machine (no folder, not fetched, not in the hub's cache): fetch it once "
            f"with {how_to_fetch(path)}, or set text.encoder.path to a folder of yours"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises UserError naming the file when there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingAssetError(f"{path} is missing: set text.encoder.path to a complete model") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}); restore the file") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: a JSON object is expected, found {type(values).__name__}; restore the file")
    return values


def weights_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the weights.

    Raises:
        MissingAssetError: when there are none, or not all.
    """
    index = folder / "model.safetensors.index.json"
    names = sorted(set(read_json(index).get("weight_map", {}).values())) if index.exists() else ["model.safetensors"]
    # A name from the index is data: only its last part is used, so that it cannot leave the folder.
    files = [folder / Path(name).name for name in names]
    for file in files:
        if not file.exists():
            raise MissingAssetError(
                f"{file} is missing: only safetensors weights are read; if the model has only pytorch_model.bin, "
                f"convert it once with `python -m imagen.app.convert {folder}`, or set text.encoder.path to a folder "
                "that has them"
            )
    return files


def tokenizer_files(folder: Path) -> list[Path]:
    """The files that make the tokenizer. Raises MissingAssetError when there are none."""
    files = [folder / name for name in _TOKENIZER_FILES if (folder / name).exists()]
    if not files:
        raise MissingAssetError(f"{folder}: no tokenizer files (tokenizer.json, spiece.model, ...); copy them there")
    return files


def hash_files(files: Sequence[Path]) -> str:
    """sha256 over the names and contents of files, wherever they lie."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {sha256_of_file(file)}\n".encode())
    return digest.hexdigest()
