"""The Inception network of FID, from a weights file that is checked before use, and two ways to resize.

The resize changes an FID as much as the pictures do, so each way has its own name.
"""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from imagen.checks.arguments import Count
from imagen.errors import UserError
from imagen.evaluation.judges.extractor import Extractor, pick_device
from imagen.evaluation.judges.names import ExtractorNames, inception_names
from imagen.fetching.absent import absent_error
from imagen.files import sha256_of_file, user_path
from imagen.tensors import Features, Pixels

SIDE = 299

Resized = Float[Tensor, "batch 3 299 299"]
"""Inception's input before (x - 128) / 128: 0 to 255, not rounded."""


class Resize(ABC):
    """Pictures of any size to 299 × 299. `names`: the names of numbers from this resize and the published weights."""

    names: ExtractorNames
    description: str

    @abstractmethod
    def __call__(self, pixels: Pixels, device: torch.device) -> Resized:
        """The resized pictures, on `device`."""


class TensorFlowResize(Resize):
    """The resize of Heusel et al. (2017): TensorFlow 1's bilinear, without antialiasing, corners at pixel edges."""

    names = ExtractorNames("inception", "fid", "")
    description = "uint8, TensorFlow-1 bilinear to 299, (x - 128) / 128"

    def __call__(self, pixels: Pixels, device: torch.device) -> Resized:
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

        images = pixels.movedim(-1, 1).contiguous().to(device).float()
        return interpolate_bilinear_2d_like_tensorflow1x(images, size=(SIDE, SIDE), align_corners=False)


class CleanResize(Resize):
    """The resize of Parmar et al. (2022), clean-fid: Pillow's antialiased bicubic on floats, clipped, not rounded.

    clean-fid feeds the result to NVIDIA's TorchScript copy of the same TensorFlow weights.
    """

    names = ExtractorNames("inception-clean", "fid_clean", "_clean")
    description = "uint8, Pillow bicubic on float channels to 299, clipped to 0..255, (x - 128) / 128"

    def __call__(self, pixels: Pixels, device: torch.device) -> Resized:
        channels = pixels.movedim(-1, 1).flatten(0, 1).float().numpy()
        resized = [np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for one in channels]
        return torch.from_numpy(np.stack(resized)).clamp(0, 255).unflatten(0, (-1, 3)).to(device)


class Inception(Extractor):
    """torch-fidelity's InceptionV3 (2048 pooled features) after a resize.

    `weights` is pt_inception-2015-12-05-6726825d.pth. Any other weights of the right shapes work too, but the number is
    then called `fd[inception:<hash8>]`, because it is not FID. Raises UserError if the file is missing or holds
    anything else.
    """

    def __init__(
        self, weights: str | Path, device: str = "auto", batch_size: Count = 32, resize: Resize | None = None
    ) -> None:
        path = user_path(weights)
        if not path.is_file():
            raise absent_error("Inception's file", path, "inception")
        digest = sha256_of_file(path)
        self.resize = resize or TensorFlowResize()
        self.name, self.fidelity_key, self.suffix = inception_names(digest, self.resize.names)
        self.identity = {
            "class": "torch_fidelity.FeatureExtractorInceptionV3",
            "files": {"weights": digest},  # independent of the file's name
            "preprocessing": self.resize.description,
            "layer": "2048",
            "dtype": "float32",
        }
        self.device = torch.device(pick_device(device))
        self.batch_size = batch_size
        self.network = _load(path).to(self.device)

    @torch.inference_mode()
    def image_features(self, pixels: Pixels) -> Features:
        """(n, 2048) features of pictures of any size."""
        batches = [
            self.network((self.resize(batch, self.device) - 128) / 128).flatten(1).cpu()
            for batch in pixels.split(self.batch_size)
        ]
        return torch.cat(batches).clone()


def _load(path: Path) -> nn.Module:
    """The network from the resized picture to the pooled features: torch-fidelity's network without its own resize."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        # torch-fidelity loads with weights_only=False. A safe load before that refuses files that would run code.
        torch.load(path, map_location="cpu", weights_only=True)
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    except Exception as error:  # the unpickler and load_state_dict raise many types
        raise UserError(f"{path}: not weights of FID's Inception network ({str(error).splitlines()[0]})") from error
    *layers, classifier = network.children()
    assert isinstance(classifier, nn.Linear)
    return nn.Sequential(*layers)
