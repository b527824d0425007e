"""Weights that a configuration names and that are not on this machine: reported at once, before torch is imported.

Also whether a configuration allows the clients of the model hub to download.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from imagen.fetching.absent import absent_error
from imagen.files import user_path
from imagen.text.model_files import resolve_folder

JUDGES = {
    "imagen.evaluation.judges.inception.Inception": ("weights", "Inception's file", "inception"),
    "imagen.evaluation.judges.dinov2.Dinov2": ("path", "DINOv2 folder", "dinov2-large"),
    "imagen.evaluation.judges.clip.ClipJudge": ("path", "judge folder", "clip-vit-large-patch14"),
    "imagen.evaluation.judges.vlm.judge.VlmJudge": ("path", "VLM folder", "Qwen/Qwen3-VL-8B-Instruct"),
}
"""By target: the key of the path, what it is called, and the model that belongs there."""


def allows_downloads(config: DictConfig) -> bool:
    """Whether a data source says `download: true` or an encoder `local_files_only: false`."""
    nodes = _nodes(OmegaConf.to_container(config, resolve=False))
    return any(node.get("download") is True or node.get("local_files_only") is False for node in nodes)


def check_weights(config: DictConfig) -> None:
    """Refuse a configuration whose weights are absent. Opens no connection and reads no weights.

    Raises:
        UserError: naming what is missing, its path, the command that fetches it, and its size.
    """
    for node in _nodes(OmegaConf.to_container(config, resolve=True)):
        if node.get("_target_") in JUDGES:
            key, what, model = JUDGES[node["_target_"]]
            if not user_path(node[key]).exists():
                raise absent_error(what, node[key], model)
        elif node.get("_target_") == "imagen.text.sources.make_text_source":
            _check_encoder(node)


def _check_encoder(text: Mapping[str, Any]) -> None:
    encoder = text["encoder"]
    cached = text["mode"] == "cached" and (user_path(text["folder"]) / "manifest.json").is_file()
    # A cache may hold every caption that is asked for, shards do: then the encoder is not needed.
    if not cached and text["mode"] != "shards" and encoder.get("local_files_only"):
        resolve_folder(encoder["path"], encoder.get("revision"), local_files_only=True)


def _nodes(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping below `node`, itself included."""
    if isinstance(node, Mapping):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _nodes(child)
