"""The real configuration, made small for tests."""

from pathlib import Path

from imagen.places import ROOT

TINY_NETWORK = [
    "stage.denoiser.network.embedding_features=32",
    "stage.denoiser.network.levels=[{_target_: imagen.networks.levels.LevelSpec, stride: 2, channels: 32, "
    "num_blocks: 1, "
    "attention: {_target_: imagen.networks.attention.SelfAttentionSpec, head_channels: 32, expansion: 1}}]",
]

SMALL = [
    *TINY_NETWORK,
    "debug=default",
    "text.mode=online",
    "data.batch_size=4",
    "data.train.size=64",
    "data.validation.size=4",
    "resolutions=[8,16,32]",
    "trainer.accelerator=cpu",
]
"""A stage that trains in a second on a CPU."""


def options(group: str) -> list[str]:
    """The choices of a configuration group."""
    return sorted(path.stem for path in Path(ROOT / "conf" / group).glob("*.yaml"))
