"""The two towers of a CLIPModel: from pictures and captions to vectors that can be compared."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imagen.clip.preprocessing import ClipPreprocessing
from imagen.devices import moved
from imagen.errors import UserError
from imagen.fetching.absent import absent_error
from imagen.tensors import Features, Pixels, Vectors
from imagen.text.model_files import refuse_redirection, tokenizer_files, weights_files
from imagen.text.pretrained import load_pretrained

PICKLED = "pytorch_model.bin"


def load_towers(folder: Path, name: str) -> tuple[Any, Any]:
    """The CLIPModel in `folder`, float32, in evaluation mode and without gradients, and its tokenizer.

    Raises:
        UserError: if the folder holds no whole CLIPModel. `name` begins the message.
    """
    from transformers import AutoTokenizer, CLIPModel

    model, report = load_pretrained(CLIPModel, folder, dtype=torch.float32, output_loading_info=True)
    # transformers would fill missing weights with random numbers, different ones each time.
    if absent := sorted(report["missing_keys"]):
        raise UserError(f"{name} {folder}: {len(absent)} weights are missing, first {absent[0]}; restore the folder")
    return model.eval().requires_grad_(False), load_pretrained(AutoTokenizer, folder)


def files_of(folder: Path, name: str) -> list[Path]:
    """Every file from which transformers builds the model and its tokenizer. The preprocessing is read here.

    Raises:
        UserError: if there is no such folder, or it holds no weights. `name` begins the message.
    """
    if not folder.is_dir():
        raise absent_error(f"{name} folder", folder, "clip-vit-large-patch14")
    safe = any(folder.glob("model.safetensors*"))
    if not safe and not (folder / PICKLED).is_file():
        raise UserError(f"{name} folder {folder} holds none of model.safetensors, {PICKLED}")
    refuse_redirection(folder)
    weights = weights_files(folder) if safe else [folder / PICKLED]
    return [folder / "config.json", *weights, *tokenizer_files(folder)]


@torch.inference_mode()
def picture_vectors(model: Any, preprocessing: ClipPreprocessing, pixels: Pixels) -> Vectors:
    """The projected features of pictures of any size, on the device of the model, where the pictures must be."""
    return pooled(model.get_image_features(pixel_values=preprocessing(pixels))).clone()


def picture_features(model: Any, preprocessing: ClipPreprocessing, pixels: Pixels, batch_size: int = 64) -> Features:
    """The same on the CPU, from pictures on any device, `batch_size` at a time."""
    batches = pixels.split(batch_size)
    return torch.cat([picture_vectors(model, preprocessing, batch.to(model.device)).cpu() for batch in batches])


@torch.inference_mode()
def caption_vectors(model: Any, tokenizer: Any, captions: Sequence[str]) -> Vectors:
    """The projected features of captions, cut to the model's number of positions, on the device of the model."""
    most = model.config.text_config.max_position_embeddings
    tokens = tokenizer(list(captions), padding=True, truncation=True, max_length=most, return_tensors="pt")
    ids, mask = (moved(tokens[name], model.device) for name in ("input_ids", "attention_mask"))
    return pooled(model.get_text_features(ids, attention_mask=mask)).clone()


def caption_features(model: Any, tokenizer: Any, captions: Sequence[str]) -> Features:
    """The same on the CPU."""
    return caption_vectors(model, tokenizer, captions).cpu()


def pooled(output: Any) -> Tensor:
    """The projected features. transformers 5 wraps them in an output object; transformers 4 returned the tensor."""
    return getattr(output, "pooler_output", output)
