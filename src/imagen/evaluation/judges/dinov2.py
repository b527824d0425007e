"""FD-DINOv2 (Stein et al., 2023): the Fréchet distance of DINOv2's class tokens, which respond less to texture than
Inception's features."""

import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from imagen.checks.arguments import Count
from imagen.errors import UserError
from imagen.evaluation.judges.extractor import Extractor, pick_device
from imagen.evaluation.judges.names import dinov2_names
from imagen.fetching.absent import absent_error
from imagen.files import user_path
from imagen.tensors import Features, Pixels
from imagen.text.model_files import hashes_by_name, refuse_redirection
from imagen.text.pretrained import load_pretrained

SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OFFSET = 0.1
"""Added to the number of patches when the original code computes the scale of its position embeddings."""


class Dinov2(Extractor):
    """A Dinov2Model folder (config.json, model.safetensors), float32, in evaluation mode. Features are the normalised
    class token, as in dgm-eval, the reference code of the metric.

    Two steps follow dgm-eval and not transformers: pictures are resized to 224 × 224 by Pillow's bicubic, without a
    crop, and the position embeddings are interpolated as in the original DINOv2.

    Raises UserError if the folder is missing, holds no Dinov2Model, or lacks some of its weights.
    """

    def __init__(self, path: str | Path, device: str = "auto", batch_size: Count = 32) -> None:
        folder = user_path(path)
        if not folder.is_dir():
            raise absent_error("DINOv2 folder", folder, "dinov2-large")
        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise UserError(f"{weights} is missing: only safetensors weights are read; restore the folder")
        refuse_redirection(folder)
        hashes = hashes_by_name([folder / "config.json", weights])
        self.name, self.fidelity_key, self.suffix = dinov2_names(hashes)
        self.identity = {
            "class": "transformers.Dinov2Model",
            "files": hashes,
            "preprocessing": "uint8, Pillow bicubic to 224 x 224, uint8, ImageNet mean and std",
            "layer": "class token, normalised",
            "dtype": "float32",
        }
        self.device = torch.device(pick_device(device))
        self.batch_size = batch_size
        self.model = _load(folder).to(self.device)

    @torch.inference_mode()
    def image_features(self, pixels: Pixels) -> Features:
        """One class token per picture, for pictures of any size; 1024 numbers for ViT-L/14."""
        batches = [
            self.model(pixel_values=preprocess(batch).to(self.device)).pooler_output.cpu()
            for batch in pixels.split(self.batch_size)
        ]
        return torch.cat(batches).clone()


def preprocess(pixels: Pixels) -> Float[Tensor, "batch 3 224 224"]:
    """dgm-eval's preprocessing: Resize((224, 224), bicubic), ToTensor, Normalize.

    By Pillow, because torchvision's resize of tensors differs by up to two grey levels when it enlarges.
    """
    pictures = [Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for one in pixels.numpy()]
    images = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures])).movedim(-1, 1).float() / 255
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))
    return (images - mean) / std


def original_positions(
    positions: Float[Tensor, "1 trained width"], patches: int
) -> Float[Tensor, "1 {patches*patches+1} width"]:
    """Position embeddings for `patches` × `patches`, interpolated with the scale that DINOv2's own code uses."""
    side = math.isqrt(positions.shape[1] - 1)
    if side == patches:
        return positions
    grid = positions[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    scale = (patches + OFFSET) / side
    grid = interpolate(grid, scale_factor=(scale, scale), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def _load(folder: Path) -> torch.nn.Module:
    from transformers import Dinov2Model

    model, report = load_pretrained(
        Dinov2Model, folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    if absent := sorted(report["missing_keys"]):
        raise UserError(f"{folder}: {len(absent)} weights are missing, first {absent[0]}; restore the folder")
    with torch.no_grad():
        positions = original_positions(model.embeddings.position_embeddings, SIDE // model.config.patch_size)
        # transformers leaves embeddings of the right number unchanged.
        model.embeddings.position_embeddings = torch.nn.Parameter(positions)
    return model.eval().requires_grad_(False)
