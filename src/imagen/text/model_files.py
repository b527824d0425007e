"""The files of a pre-trained model of transformers: where they are, what is in them, whether they are the same.

A model is what is loaded, so its identity is a hash of every file that transformers reads from its folder: config.json,
the weights, all files of the tokenizer. Bytes are hashed, not what they mean: a config.json that was only written again
with other spaces counts as another one. What would have something else loaded than these files is refused.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imagen.checks import foreign
from imagen.errors import UserError
from imagen.fetching.absent import fetched_folder, how_to_fetch
from imagen.files import sha256_of_file, user_path

_TOKENIZER_FILES = (
    "added_tokens.json",
    "bpe.codes",
    "byte_maps.json",
    "dict.txt",
    "emoji.json",
    "entity_vocab.json",
    "merges.txt",
    "normalizer.json",
    "prophetnet.tokenizer",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "source.spm",
    "special_tokens_map.json",
    "spiece.model",
    "spm.model",
    "spm_char.model",
    "target.spm",
    "target_vocab.json",
    "tekken.json",
    "tiktoken.model",
    "tokenizer.*json",  # tokenizer.json, and of certain versions only: tokenizer.4.0.json
    "tokenizer.model*",
    "tokenizer_config.json",
    "vocab-src.json",
    "vocab-tgt.json",
    "vocab.json",
    "vocab.txt",
    "word_pronunciation.json",
    "word_shape.json",
)
"""Every name under which a tokenizer of transformers 5 looks for a file, but for chat templates."""


HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
REVISION = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)
"""Of a model on the hub; neither leads out of the folder of the hub's cache, whoever wrote it."""


class MissingModelError(UserError):
    """Files of a pre-trained model are not on this machine."""

    def __init__(self, message: str) -> None:
        super().__init__(message, environment=True)


def resolve_folder(path: str, revision: str | None, local_files_only: bool) -> Path:
    """The folder that holds the model `path`: itself if it is one, else what `imagen fetch` or the hub's client
    put on this machine.

    Opens no connection when `local_files_only`.

    Raises:
        MissingModelError: naming the model and the way out.
    """
    folder = user_path(path)
    if is_folder(folder):
        return folder
    if revision is None and (fetched := fetched_folder(path)):
        return fetched
    if folder.is_absolute() or not HUB_NAME.fullmatch(path):
        raise MissingModelError(
            f"text encoder {path}: no such folder; set text.encoder.path to a folder or a hub model"
        )
    if revision is not None and not REVISION.fullmatch(revision):
        raise UserError(f"text encoder {path}: revision {revision!r:.60} is no branch, tag or commit of the model hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = ["config.json", "*.safetensors", "model.safetensors.index.json", *_TOKENIZER_FILES]
    try:
        return Path(
            snapshot_download(path, revision=revision, local_files_only=local_files_only, allow_patterns=wanted)
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        at = f"{path}@{revision}" if revision else path
        raise MissingModelError(
            f"text encoder {at} is not on this machine (no folder, not fetched, not in the hub's cache): fetch it once "
            f"with {how_to_fetch(path)}, or set text.encoder.path to a folder of yours"
        ) from error


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder of that name; none has a name that no file system takes."""
    try:
        return user_path(path).is_dir()
    except (OSError, ValueError):  # too long; with a NUL
        return False


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises UserError naming the file when there is none."""
    try:
        values = foreign.read_json(path, "restore the file")
    except FileNotFoundError:
        raise MissingModelError(f"{path} is missing: set text.encoder.path to a complete model") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; restore the file") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: a JSON object is expected, found {type(values).__name__}; restore the file")
    return values


def weights_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers takes the weights from: the whole ones before those in shards.

    Raises:
        MissingModelError: when there are none, or not all.
        UserError: when the folder would have transformers load something else.
    """
    index, whole = folder / "model.safetensors.index.json", folder / "model.safetensors"
    names = [whole.name]
    if index.exists() and not whole.exists():
        names = sorted(set(read_json(index).get("weight_map", {}).values()))
    for name in names:
        if Path(name).name != name:  # transformers would follow it
            raise UserError(f"{index}: {name!r:.100} is not the name of a file in this folder; restore the index")
        if not (folder / name).exists():
            raise MissingModelError(
                f"{folder / name} is missing: only safetensors weights are read; if the model has only "
                f"pytorch_model.bin, convert it once with `imagen convert {folder}`, or set "
                "text.encoder.path to a folder that has them"
            )
    refuse_redirection(folder)
    return [folder / name for name in names]


def refuse_redirection(folder: Path) -> None:
    """Raises UserError when config.json names another file of weights or is missing, or an adapter would be put on
    them."""
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"{folder} holds an adapter (adapter_config.json), which is applied where peft is installed and not where "
            "it is not; merge it into the weights, or remove it"
        )
    if not (folder / "config.json").exists():
        raise MissingModelError(f"{folder}/config.json is missing: give the folder of a complete model")
    if "transformers_weights" in read_json(folder / "config.json"):
        raise UserError(
            f"{folder}/config.json: transformers_weights names another file of weights; call that file "
            "model.safetensors and remove the key"
        )


def tokenizer_files(folder: Path) -> list[Path]:
    """The files that make the tokenizer, by name. Raises MissingModelError when there are none."""
    files = sorted({path for name in _TOKENIZER_FILES for path in folder.glob(name)}, key=lambda path: path.name)
    if not files:
        raise MissingModelError(f"{folder}: no tokenizer files (tokenizer.json, spiece.model, ...); copy them there")
    return files


def hashes_by_name(files: Sequence[Path]) -> dict[str, str]:
    """The sha256 of each file, by its name: the identity of a model, in a form that says which file differs."""
    return {file.name: sha256_of_file(file) for file in files}


def hash_files(files: Sequence[Path]) -> str:
    """sha256 over the names and contents of files, wherever they lie."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {sha256_of_file(file)}\n".encode())
    return digest.hexdigest()
