"""Shapes of the arrays that travel inside the evaluation, and the two hashes everything is named by."""

import hashlib
import json
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from imagen.errors import UserError

Pixels = UInt8[Tensor, "batch height width 3"]
"""Pictures as they are written to files: 0 to 255, channels last."""

Features = Float[Tensor, "batch features"]
"""One feature vector for each picture or caption, float32, on the CPU."""

ReferenceFeatures = Float[Tensor, "reference features"]
"""The features of another set of pictures."""

Features64 = Float64[Tensor, "batch features"]
"""The same in double precision, in which all statistics are computed."""


def as_pixels(pictures: Tensor | np.ndarray) -> Pixels:
    """Pictures from a sampler or a source as one uint8 tensor on the CPU.

    Raises UserError when they are not uint8 of shape (n, height, width, 3): a second way to round would be a second
    metric.
    """
    tensor = torch.as_tensor(np.ascontiguousarray(pictures) if isinstance(pictures, np.ndarray) else pictures).cpu()
    if tensor.dtype != torch.uint8 or tensor.ndim != 4 or tensor.shape[-1] != 3:
        raise UserError(
            f"pictures to evaluate must be uint8 (n, height, width, 3), found {tensor.dtype} {tuple(tensor.shape)}; "
            "pass them through imagen.data.pixels.to_uint8"
        )
    return tensor


def fingerprint(value: Any) -> str:
    """Hexadecimal sha256 of a value made of dicts, lists, strings and numbers; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False).encode()).hexdigest()
