"""imagen-pytorch 2.1.0 (the optional extra `benchmark`), importable without a network.

A default argument of its U-Net requests the configuration of T5-base from the hub at import time. This module supplies
the value (width 768, overridden below anyway), so that no connection is needed.
"""

import warnings
from types import ModuleType
from unittest import mock

from torch import nn


def import_peer() -> ModuleType:
    """The package `imagen_pytorch`.

    Raises:
        ModuleNotFoundError: if imagen-pytorch is not installed.
    """
    from transformers import T5Config

    with (
        mock.patch.object(T5Config, "from_pretrained", return_value=T5Config(d_model=768)),
        warnings.catch_warnings(action="ignore"),  # what it calls is deprecated
    ):
        import imagen_pytorch

    return imagen_pytorch


def make_peer(text_features: int) -> nn.Module:
    """imagen-pytorch's U-Net in the matched configuration.

    Raises:
        ModuleNotFoundError: if imagen-pytorch is not installed.
    """
    return import_peer().Unet(
        dim=64,
        dim_mults=(1, 2, 4),
        num_resnet_blocks=2,
        layer_attns=(False, True, True),
        layer_cross_attns=(False, True, True),
        text_embed_dim=text_features,
        cond_dim=256,
    )
