"""The Inception network of FID, from a file of weights that has been looked at before it is run."""

from pathlib import Path

import torch

from imagen.errors import UserError
from imagen.evaluation.arrays import Features, Pixels, sha256_of_file
from imagen.evaluation.features import Extractor, pick_device
from imagen.evaluation.names import INCEPTION_SHA256_PREFIX, inception_key


class Inception(Extractor):
    """torch-fidelity's InceptionV3 (TensorFlow-1 bilinear resize to 299, (x - 128) / 128, 2048 pooled features).

    `weights` is pt_inception-2015-12-05-6726825d.pth. With any other file of the right shape everything works and the
    number is called `fd[inception:<hash8>]`: it is not FID. Raises UserError when the file is missing or is something
    else.
    """

    def __init__(self, weights: str | Path, device: str = "auto", batch_size: int = 32) -> None:
        path = Path(weights)
        if not path.is_file():
            raise UserError(
                f"Inception weights {path} do not exist; give the path of pt_inception-2015-12-05-"
                f"{INCEPTION_SHA256_PREFIX}.pth (from github.com/mseitzer/pytorch-fid or toshas/torch-fidelity)"
            )
        digest = sha256_of_file(path)
        self.name = "inception"
        self.fidelity_key = inception_key(digest)
        self.identity = {
            "class": "torch_fidelity.FeatureExtractorInceptionV3",
            "weights_sha256": digest,
            "preprocessing": "uint8, TensorFlow-1 bilinear to 299, (x - 128) / 128",
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
            self.network(batch.movedim(-1, 1).contiguous().to(self.device))[0].cpu()
            for batch in pixels.split(self.batch_size)
        ]
        return torch.cat(batches).clone()


def _load(path: Path) -> torch.nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        # torch-fidelity loads with weights_only=False. Loading safely first refuses a file that would run code.
        torch.load(path, map_location="cpu", weights_only=True)
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path))
    except Exception as error:  # the unpickler and load_state_dict raise many kinds
        raise UserError(f"{path}: not weights of FID's Inception network ({str(error).splitlines()[0]})") from error
