"""CLIP's image preprocessing on whole batches, on the model's device, equal to the Hugging Face processor's."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from imagen.checks.foreign import read_json
from imagen.devices import moved
from imagen.errors import UserError
from imagen.files import fingerprint
from imagen.tensors import Pixels

BICUBIC = 3  # PIL.Image.Resampling.BICUBIC, as written in preprocessor_config.json


@dataclass(frozen=True)
class ClipPreprocessing:
    """Resize the shortest edge (bicubic, antialiased, rounded back to uint8), crop the centre, scale, normalise.

    `shortest_edge` and `crop` in pixels; `mean` and `std` per channel for values in [0, 1].
    """

    shortest_edge: int
    crop: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scale: float = 1 / 255

    @classmethod
    def from_folder(cls, folder: Path) -> "ClipPreprocessing":
        """Read preprocessor_config.json. Raises UserError if it needs a step that is not supported here."""
        path = folder / "preprocessor_config.json"
        try:
            config = read_json(path, "restore the file")
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error})") from error
        unsupported = [key for key in ("do_resize", "do_center_crop", "do_normalize") if not config.get(key, True)]
        if unsupported or config.get("resample", BICUBIC) != BICUBIC:
            raise UserError(
                f"{path}: only bicubic resizing, centre crop and normalisation are supported, all switched on"
            )
        edge, crop = _edge(config.get("size", 224), path), _edge(config.get("crop_size", 224), path)
        if crop > edge:
            raise UserError(f"{path}: crop_size {crop} is larger than size {edge}; padding is not supported")
        return cls(
            shortest_edge=edge,
            crop=crop,
            mean=tuple(config["image_mean"]),
            std=tuple(config["image_std"]),
            scale=config.get("rescale_factor", 1 / 255),
        )

    def __call__(self, pixels: Pixels) -> Float[Tensor, "batch 3 crop crop"]:
        """Float32 images (batch, 3, crop, crop), normalised, on the device of `pixels`."""
        from torchvision.transforms.v2 import InterpolationMode
        from torchvision.transforms.v2 import functional as transforms

        images = pixels.movedim(-1, 1)
        images = transforms.resize(images, [self.shortest_edge], InterpolationMode.BICUBIC, antialias=True)
        # Hugging Face rounds an odd margin down; torchvision's centre crop rounds it to even.
        top, left = ((side - self.crop) // 2 for side in images.shape[-2:])
        images = transforms.crop(images, top, left, self.crop, self.crop)
        mean, std = (moved(torch.tensor(value), images.device).view(3, 1, 1) for value in (self.mean, self.std))
        return (images.float() * self.scale - mean) / std

    def as_dict(self) -> dict[str, Any]:
        """The numbers and the kind of resize, for fingerprints."""
        return {**asdict(self), "resize": "bicubic, antialias, uint8"}


def _edge(size: int | dict[str, int], path: Path) -> int:
    """`224`, `{shortest_edge: 224}` or `{height: 224, width: 224}` as one number."""
    edges = {size} if isinstance(size, int) else set(size.values())
    if len(edges) != 1:
        raise UserError(f"{path}: only square sizes are supported, found {size}")
    return edges.pop()


def clip_fingerprint(hashes: Mapping[str, str], preprocessing: ClipPreprocessing) -> str:
    """Of a CLIP with all that its vectors depend on: the sha256 of its files by name, and its preprocessing."""
    return fingerprint({"files": dict(hashes), "preprocessing": preprocessing.as_dict()})
