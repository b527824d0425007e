"""The presets with the names of imagen-pytorch's classes have what those declare."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from imagen.networks.attention import AttentionSpec, CrossAttentionSpec, InTurnSpec, SelfAttentionSpec
from imagen.networks.levels import LevelSpec

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from peer import import_peer
from sizes import preset_levels

DECLARED = {
    ("base_unet64", "BaseUnet64"): {
        "dim": 512,
        "dim_mults": (1, 2, 3, 4),
        "num_resnet_blocks": 3,
        "layer_attns": (False, True, True, True),
        "layer_cross_attns": (False, True, True, True),
        "attn_heads": 8,
        "memory_efficient": False,
    },
    ("sr_unet256", "SRUnet256"): {
        "dim": 128,
        "dim_mults": (1, 2, 4, 8),
        "num_resnet_blocks": (2, 4, 8, 8),
        "layer_attns": (False, False, False, True),
        "layer_cross_attns": (False, False, False, True),
        "attn_heads": 8,
        "memory_efficient": True,
    },
    ("sr_unet1024", "SRUnet1024"): {
        "dim": 128,
        "dim_mults": (1, 2, 4, 8),
        "num_resnet_blocks": (2, 4, 8, 8),
        "layer_attns": False,
        "layer_cross_attns": (False, False, False, True),
        "attn_heads": 8,
        "memory_efficient": True,
    },
}
"""Of imagen-pytorch 2.1.0, its predefined U-Nets."""


def parts(attention: AttentionSpec | None) -> list[AttentionSpec]:
    if attention is None:
        return []
    return list(attention.parts) if isinstance(attention, InTurnSpec) else [attention]


def has(level: LevelSpec, kind: type[AttentionSpec]) -> bool:
    return any(isinstance(part, kind) for part in parts(level.attention))


def per_level(value: object) -> tuple:
    return value if isinstance(value, tuple) else (value,) * 4


@pytest.mark.parametrize(("preset", "theirs"), DECLARED)
def test_a_preset_has_the_widths_blocks_and_attentions_of_its_namesake(preset: str, theirs: str) -> None:
    levels, declared = preset_levels(preset), DECLARED[preset, theirs]
    assert tuple(level.channels for level in levels) == tuple(declared["dim"] * m for m in declared["dim_mults"])
    assert tuple(level.num_blocks for level in levels) == per_level(declared["num_resnet_blocks"])
    assert tuple(has(level, SelfAttentionSpec) for level in levels) == per_level(declared["layer_attns"])
    assert tuple(has(level, CrossAttentionSpec) for level in levels) == per_level(declared["layer_cross_attns"])
    assert (levels[0].stride == 2) == declared["memory_efficient"]  # "memory efficient": smaller before the first block
    for level in levels:
        for part in parts(level.attention):
            assert part.expansion * level.channels // part.head_channels == declared["attn_heads"]
            assert level.attention_every == level.num_blocks  # once a level


@pytest.mark.skipif(
    find_spec("imagen_pytorch") is None, reason="imagen-pytorch (the extra `benchmark`) is not installed"
)
@pytest.mark.parametrize(("preset", "theirs"), DECLARED)
def test_this_is_what_the_package_declares(preset: str, theirs: str) -> None:
    with torch.device("meta"):
        arguments = getattr(import_peer(), theirs)()._locals
    assert {name: arguments[name] for name in DECLARED[preset, theirs]} == DECLARED[preset, theirs]
