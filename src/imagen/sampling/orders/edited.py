"""What sample.py is to do with pictures of the user, as its configuration says it."""

from typing import Any

from omegaconf import DictConfig, ListConfig

from imagen.cascade.embeddings import FromPicture
from imagen.errors import UserError
from imagen.files import sha256_of_file, user_path
from imagen.inputs.edits import Edit
from imagen.sampling.configured import own_embedding, own_settings

PICTURES = ("picture", "mask", "condition")


def configured_edit(config: DictConfig) -> Edit:
    """Reads the pictures that `config` names.

    Raises:
        UserError: for a file that is no picture, and for a size that is no list of two.
    """
    for key in PICTURES:
        if config[key] is not None and not isinstance(config[key], str):
            raise UserError(f"{key}={config[key]} must be one file")
    size = list(config.size) if isinstance(config.size, ListConfig) else config.size
    files = {key: config[key] for key in PICTURES}
    looks = isinstance(own_embedding(config), FromPicture)
    return Edit.of(**files, start_at=config.start_at, size=size, begins=is_set(config, "strength"), looks=looks)


def is_set(config: DictConfig, key: str) -> bool:
    """Whether `config` sets `key`, for all stages or for one of them."""
    return config[key] is not None or any(key in settings for settings in own_settings(config).values())


def facts_of_edit(config: DictConfig) -> dict[str, Any]:
    """What a picture carries about it: which pictures it was made from, and where it began."""
    named = {key: config[key] for key in PICTURES if config[key] is not None}
    facts: dict[str, Any] = {f"{key}_sha256": sha256_of_file(user_path(file)) for key, file in named.items()}
    return facts if config.start_at is None else {**facts, "start_at": config.start_at}
