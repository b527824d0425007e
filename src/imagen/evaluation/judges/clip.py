"""CLIP models as judges: from pictures and captions to feature vectors.

A judge is a folder with a CLIPModel, its tokenizer and its image processor's configuration. The two small judges in
assets/ and openai/clip-vit-large-patch14 are loaded by the same code.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from imagen.checks.arguments import Count
from imagen.checks.worlds import EVERY
from imagen.clip.preprocessing import ClipPreprocessing, clip_fingerprint
from imagen.clip.towers import caption_features, files_of, load_towers, picture_features
from imagen.evaluation.judges.extractor import AlignmentJudge, pick_device
from imagen.evaluation.judges.names import CLIP_SCORE, clip_names
from imagen.evaluation.judges.record import world_of_judge
from imagen.files import user_path
from imagen.tensors import Features, Pixels
from imagen.text.model_files import hashes_by_name


class ClipJudge(AlignmentJudge):
    """A CLIPModel folder, float32, in evaluation mode. It is never trained and never part of a training module.

    Features are the *projected, unnormalised* image embeddings (`image_embeds` before the division by their norm), as
    in torch-fidelity's CLIP extractors. They have few dimensions, so few pictures suffice, and they keep the norm,
    which carries some of a picture's sharpness. Cosines use the same vectors.

    Raises UserError if the folder is missing or holds no CLIPModel.
    """

    def __init__(self, path: str | Path, name: str, device: str = "auto", batch_size: Count = 64) -> None:
        self.folder = user_path(path)
        files = files_of(self.folder, "judge")
        self.device = torch.device(pick_device(device))
        self.batch_size = batch_size
        model, self.tokenizer = load_towers(self.folder, "judge")
        self.model = model.to(self.device)
        self.max_tokens: int = self.model.config.text_config.max_position_embeddings
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
        self.clip_sha256 = clip_fingerprint(hashes, self.preprocessing)
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

    def too_long(self, captions: Sequence[str]) -> list[bool]:
        different = list(dict.fromkeys(captions))
        tokens = self.tokenizer(different, truncation=False)["input_ids"] if different else []
        long = {caption: len(ids) > self.max_tokens for caption, ids in zip(different, tokens, strict=True)}
        return [long[caption] for caption in captions]
