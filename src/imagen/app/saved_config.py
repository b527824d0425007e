"""Configurations that come from a file of a run, and may be a stranger's."""

from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from imagen.errors import UserError


def read_saved(path: Path) -> DictConfig:
    """The configuration in `path`, which `RunFolder.keep_configuration` wrote.

    We never write YAML aliases. Nested ones make gigabytes of a few bytes, so a file with any is refused unexpanded.

    Raises:
        UserError: if it has aliases, is not UTF-8, not YAML, or not a mapping.
    """
    way_out = "restore it, or start another run with name=..."
    try:
        text = path.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise UserError(f"{path}: holds a YAML alias, which no run writes (an alias bomb?); {way_out}")
        config = OmegaConf.load(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())}); {way_out}") from None
    if not isinstance(config, DictConfig):
        raise UserError(f"{path}: a mapping is expected, found {type(config).__name__}; {way_out}")
    return config
