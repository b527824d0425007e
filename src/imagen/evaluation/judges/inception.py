"""The Inception network of FID, from a file of weights that was looked at before it is run, and two ways to resize.

The resize decides an FID as much as the pictures do, so each has its own name.
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
"""Pictures as Inception sees them before (x - 128) / 128: 0 to 255, not rounded."""


class Resize(ABC):
    """Pictures of any size to 299 × 299. `names`: of what is measured with it and the published weights."""

    names: ExtractorNames
    description: str

    @abstractmethod
    def __call__(self, pixels: Pixels, device: torch.device) -> Resized:
        """On `device`."""


class TensorFlowResize(Resize):
    """That of Heusel et al. (2017): TensorFlow 1's bilinear, without antialiasing, corners at the pixels' edges."""

    names = ExtractorNames("inception", "fid", "")
    description = "uint8, TensorFlow-1 bilinear to 299, (x - 128) / 128"

    def __call__(self, pixels: Pixels, device: torch.device) -> Resized:
        from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

        images = pixels.movedim(-1, 1).contiguous().to(device).float()
        return interpolate_bilinear_2d_like_tensorflow1x(images, size=(SIDE, SIDE), align_corners=False)


class CleanResize(Resize):
    """That of Parmar et al. (2022), clean-fid: Pillow's antialiased bicubic on float channels, clipped, not rounded.

    clean-fid runs it through NVIDIA's TorchScript copy of the same TensorFlow weights.
    """

    names = ExtractorNames("inception-clean", "fid_clean", "_clean")
    description = "uint8, Pillow bicubic on float channels to 299, clipped to 0..255, (x - 128) / 128"

    def __call__(self, pixels: Pixels, device: torch.device) -> Resized:
        channels = pixels.movedim(-1, 1).flatten(0, 1).float().numpy()
        resized = [np.asarray(Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for one in channels]
        return torch.from_numpy(np.stack(resized)).clamp(0, 255).unflatten(0, (-1, 3)).to(device)


class Inception(Extractor):
    """torch-fidelity's InceptionV3 (2048 pooled features) behind a resize.

    `weights` is pt_inception-2015-12-05-6726825d.pth. With any other file of the right shape everything works and the
    number is called `fd[inception:<hash8>]`: it is not FID. Raises UserError when the file is missing or is something
    else.
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
            "files": {"weights": digest},  # whatever the file is called
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
    """The network from the resized picture to the pooled features: what torch-fidelity runs after its own resize."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        # torch-fidelity loads with weights_only=False. Loading safely first refuses a file that would run code.
        torch.load(path, map_location="cpu", weights_only=True)
        whole = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    except Exception as error:  # the unpickler and load_state_dict raise many kinds
        raise UserError(f"{path}: not weights of FID's Inception network ({str(error).splitlines()[0]})") from error
    *layers, classifier = whole.children()
    assert isinstance(classifier, nn.Linear)
    return nn.Sequential(*layers)
