"""A judge before training: its tokenizer and its network. And the folder that a trained one is saved to."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from imagen.checks.arguments import Count
from imagen.clip.preprocessing import ClipPreprocessing
from imagen.errors import UserError
from imagen.evaluation.judges.names import OPENAI_PREPROCESSING
from imagen.randomness import derive_seed
from imagen.text.pretrained import load_pretrained

if TYPE_CHECKING:
    from transformers import CLIPModel

HEAD = 32
"""Features of an attention head."""

MAX_TOKENS = 77
"""Of a caption, as in CLIP."""


@dataclass(frozen=True)
class JudgeNetwork:
    """The sizes of a CLIPModel with two small transformers.

    Args:
        patch: side of the picture's patches in pixels.
        width: features of a patch inside the picture tower; a multiple of 32.
        layers: of the picture tower.
        text_width: features of a token inside the caption tower; a multiple of 32.
        text_layers: of the caption tower.
        projection: features of an embedding.
        image_size: side of the pictures in pixels; a multiple of `patch`.

    Raises UserError for sizes that do not divide.
    """

    patch: Count
    width: Count
    layers: Count
    text_width: Count
    text_layers: Count
    projection: Count = 64
    image_size: Count = 64

    def __post_init__(self) -> None:
        if self.image_size % self.patch:
            raise UserError(f"image_size={self.image_size} is no multiple of the network's patch={self.patch}")
        for name in ("width", "text_width"):
            if getattr(self, name) % HEAD:
                raise UserError(f"{name}={getattr(self, name)} of a judge's network must be a multiple of {HEAD}")

    @property
    def preprocessing(self) -> ClipPreprocessing:
        """What `save` writes for the image processor."""
        return ClipPreprocessing(self.image_size, self.image_size, OPENAI_PREPROCESSING.mean, OPENAI_PREPROCESSING.std)


def make_tokenizer(captions: Iterable[str], vocabulary: int) -> Any:
    """A CLIPTokenizer (byte-level BPE) that learns on `captions` until it has about `vocabulary` tokens.

    Frequent words are one token each. Any other text, in any script, becomes several, in the end single bytes: no text
    is unknown.
    """
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    end = "</w>"
    parts = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(BPE(end_of_word_suffix=end))
    learner.normalizer, learner.pre_tokenizer = parts.normalizer, parts.pre_tokenizer
    # The last letters of words come as special tokens. Else the trainer numbers them in another order each time, and of
    # equally frequent pairs it merges the one with the lower numbers.
    last_letters = [letter + end for letter in alphabet]
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        initial_alphabet=alphabet,
        special_tokens=last_letters,
        end_of_word_suffix=end,
        show_progress=False,
    )
    learner.train_from_iterator(captions, trainer)
    merges: Any = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    learned = ["".join(merge) for merge in merges]
    tokens = [*alphabet, *last_letters, *learned, "<|startoftext|>", "<|endoftext|>"]
    numbers = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=numbers, merges=merges, model_max_length=MAX_TOKENS)


def make_model(network: JudgeNetwork, tokenizer: Any, seed: int) -> "CLIPModel":
    """An untrained CLIPModel; its weights depend on the arguments alone."""
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=network.text_width,
        intermediate_size=4 * network.text_width,
        num_hidden_layers=network.text_layers,
        num_attention_heads=network.text_width // HEAD,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        image_size=network.image_size,
        patch_size=network.patch,
        hidden_size=network.width,
        intermediate_size=4 * network.width,
        num_hidden_layers=network.layers,
        num_attention_heads=network.width // HEAD,
    )
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=network.projection)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("judge-weights", seed))
        model = CLIPModel(config)
    # CLIP's initial position embeddings are 14 times weaker than its contents, so "left of" would be learned last.
    # Start from a grid instead.
    with torch.no_grad():
        positions = model.vision_model.embeddings.position_embedding.weight
        positions[1:] = grid_positions(network.image_size // network.patch, network.width)
    return model


def grid_positions(side: int, width: int) -> Float[Tensor, "positions width"]:
    """Sines and cosines of the row in one half of the features and of the column in the other half, scaled by 1/4."""
    frequencies = 2.0 ** -torch.arange(width // 4, dtype=torch.float32).mul(8 / (width // 4)) * torch.pi / 2
    angles = torch.arange(side, dtype=torch.float32)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, -1) * 0.25


def save(model: "CLIPModel", tokenizer: Any, folder: Path) -> None:
    """Write the folder that `ClipJudge` and transformers load: weights, configuration, tokenizer, image processor."""
    from transformers import CLIPImageProcessor
    from transformers.utils import logging

    logging.disable_progress_bar()  # of the one file that is written
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config: Any = model.config
    side = config.vision_config.image_size
    size = {"height": side, "width": side}
    CLIPImageProcessor(size={"shortest_edge": side}, crop_size=size).save_pretrained(folder)


def load(folder: Path) -> "CLIPModel":
    """The network of a saved judge, for further training."""
    from transformers import CLIPModel

    return load_pretrained(CLIPModel, folder, dtype=torch.float32)
