"""CLIP models as judges: from pictures and captions to feature vectors.

A judge is a folder with a CLIPModel, its tokenizer and its image processor's configuration. The two small judges in
assets/ and openai/clip-vit-large-patch14 are loaded by the same code.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imagen.checks.arguments import Count
from imagen.checks.worlds import EVERY
from imagen.errors import UserError
from imagen.evaluation.judges.clip_preprocessing import ClipPreprocessing
from imagen.evaluation.judges.extractor import AlignmentJudge, pick_device
from imagen.evaluation.judges.names import CLIP_SCORE, clip_names
from imagen.evaluation.judges.record import world_of_judge
from imagen.fetching.absent import absent_error
from imagen.files import user_path
from imagen.tensors import Features, Pixels
from imagen.text.model_files import hashes_by_name, refuse_redirection, tokenizer_files, weights_files
from imagen.text.pretrained import load_pretrained

PICKLED = "pytorch_model.bin"


class ClipJudge(AlignmentJudge):
    """A CLIPModel folder, float32, in evaluation mode. It is never trained and never part of a training module.

    Features are the *projected, unnormalised* image embeddings (`image_embeds` before the division by their norm), as
    in torch-fidelity's CLIP extractors. They have few dimensions, so few pictures suffice, and they keep the norm,
    which carries some of a picture's sharpness. Cosines use the same vectors.

    Raises UserError if the folder is missing or holds no CLIPModel.
    """

    def __init__(self, path: str | Path, name: str, device: str = "auto", batch_size: Count = 64) -> None:
        from transformers import AutoTokenizer, CLIPModel

        self.folder = user_path(path)
        files = _files_of(self.folder)
        self.device = torch.device(pick_device(device))
        self.batch_size = batch_size
        model, report = load_pretrained(CLIPModel, self.folder, dtype=torch.float32, output_loading_info=True)
        # transformers would fill missing weights with random numbers, different ones each time.
        if absent := sorted(report["missing_keys"]):
            raise UserError(
                f"judge {self.folder}: {len(absent)} weights are missing, first {absent[0]}; restore the folder"
            )
        tokenizer = load_pretrained(AutoTokenizer, self.folder)
        self.model = model.eval().requires_grad_(False).to(self.device)
        self.tokenizer = tokenizer
        self.max_tokens: int = model.config.text_config.max_position_embeddings
        self.preprocessing = ClipPreprocessing.from_folder(self.folder)
        hashes = hashes_by_name(files)
        names = clip_names(name, hashes, self.preprocessing)
        self.name, self.fidelity_key, self.alignment_key, self.alignment_scale = names
        self.identity = {
            "class": "transformers.CLIPModel",
            "files": hashes,
            "preprocessing": self.preprocessing.as_dict(),
            "layer": "image_embeds, projected, not normalised",
            "dtype": "float32",
        }
        published = self.alignment_key == CLIP_SCORE
        self.world = EVERY if published else world_of_judge(self.folder, hashes.get("model.safetensors", ""))
        self._texts: dict[str, Tensor] = {}

    def image_features(self, pixels: Pixels) -> Features:
        """Features as the class describes. `pixels` of any size are resized as by the model's own processor."""
        return picture_features(self.model, self.preprocessing, pixels, self.batch_size)

    def text_features(self, captions: Sequence[str]) -> Features:
        """Captions with more tokens than the model has positions are cut before the end-of-text token, which is always
        kept: CLIP takes its vector there, so without it all long captions would have the same features."""
        missing = [caption for caption in dict.fromkeys(captions) if caption not in self._texts]
        for start in range(0, len(missing), self.batch_size):
            some = missing[start : start + self.batch_size]
            self._texts.update(zip(some, caption_features(self.model, self.tokenizer, some), strict=True))
        return torch.stack([self._texts[caption] for caption in captions])

    def truncated_share(self, captions: Sequence[str]) -> float:
        lengths = [len(ids) for ids in self.tokenizer(list(captions), truncation=False)["input_ids"]]
        return sum(length > self.max_tokens for length in lengths) / max(len(lengths), 1)


@torch.inference_mode()
def picture_features(model: Any, preprocessing: ClipPreprocessing, pixels: Pixels, batch_size: int = 64) -> Features:
    """The projected features of pictures of any size, on the CPU."""
    batches = [
        pooled(model.get_image_features(pixel_values=preprocessing(batch.to(model.device)))).cpu()
        for batch in pixels.split(batch_size)
    ]
    return torch.cat(batches).clone()


@torch.inference_mode()
def caption_features(model: Any, tokenizer: Any, captions: Sequence[str]) -> Features:
    """The projected features of captions, cut to the model's number of positions, on the CPU."""
    most = model.config.text_config.max_position_embeddings
    tokens = tokenizer(list(captions), padding=True, truncation=True, max_length=most, return_tensors="pt")
    tokens = tokens.to(model.device)
    output = model.get_text_features(tokens["input_ids"], attention_mask=tokens["attention_mask"])
    return pooled(output).cpu().clone()


def pooled(output: Any) -> Tensor:
    """The projected features. transformers 5 wraps them in an output object; transformers 4 returned the tensor."""
    return getattr(output, "pooler_output", output)


def _files_of(folder: Path) -> list[Path]:
    """Every file from which transformers builds the model and its tokenizer. The preprocessing is read here."""
    if not folder.is_dir():
        raise absent_error("judge folder", folder, "clip-vit-large-patch14")
    safe = any(folder.glob("model.safetensors*"))
    if not safe and not (folder / PICKLED).is_file():
        raise UserError(f"judge folder {folder} holds none of model.safetensors, {PICKLED}")
    refuse_redirection(folder)
    weights = weights_files(folder) if safe else [folder / PICKLED]
    return [folder / "config.json", *weights, *tokenizer_files(folder)]
