"""The shapes judges before and after training: recipes, tokenizer, network, and saving."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from imagen.randomness import derive_seed
from imagen.shapes import all_captions
from imagen.text.pretrained import load_pretrained

if TYPE_CHECKING:
    from transformers import CLIPModel

IMAGE_SIZE = 64


@dataclass(frozen=True)
class JudgeRecipe:
    """The settings that differ between judges. `seed` determines the weights, scenes and augmentation.

    `steps` of pictures and captions, `caption_steps` of the caption tower alone, `late_steps` of both again.
    """

    seed: int
    patch: int
    width: int
    layers: int
    text_width: int
    text_layers: int
    steps: int
    caption_steps: int
    late_steps: int
    batch: int = 64
    projection: int = 64
    learning_rate: float = 1.5e-3
    warmup: int = 60
    weight_decay: float = 0.05


RECIPES = {
    "a": JudgeRecipe(
        seed=7001,
        patch=8,
        width=128,
        layers=4,
        text_width=128,
        text_layers=2,
        steps=700,
        caption_steps=250,
        late_steps=250,
    ),
    "b": JudgeRecipe(
        seed=7002,
        patch=16,
        width=160,
        layers=4,
        text_width=64,
        text_layers=2,
        steps=800,
        caption_steps=500,
        late_steps=600,
    ),
}


def make_tokenizer() -> Any:
    """A CLIPTokenizer (byte-level BPE) with merges learned on the captions: each of their words is one token; other
    words become several tokens."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    end = "</w>"
    parts = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(BPE(end_of_word_suffix=end))
    learner.normalizer, learner.pre_tokenizer = parts.normalizer, parts.pre_tokenizer
    trainer = BpeTrainer(vocab_size=1024, initial_alphabet=alphabet, end_of_word_suffix=end, show_progress=False)
    learner.train_from_iterator([*all_captions("train"), *all_captions("held_out")], trainer)
    model = json.loads(learner.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    tokens += [letter + end for letter in alphabet if letter + end not in model["vocab"]]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    merges: Any = [tuple(merge) for merge in model["merges"]]  # annotated as str, read as pairs
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def make_model(recipe: JudgeRecipe, tokenizer: Any) -> "CLIPModel":
    """An untrained CLIPModel of the recipe; its weights depend on the seed alone."""
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.text_width,
        intermediate_size=4 * recipe.text_width,
        num_hidden_layers=recipe.text_layers,
        num_attention_heads=recipe.text_width // 32,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        image_size=IMAGE_SIZE,
        patch_size=recipe.patch,
        hidden_size=recipe.width,
        intermediate_size=4 * recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.width // 32,
    )
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=recipe.projection)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("judge-weights", recipe.seed))
        model = CLIPModel(config)
    # CLIP's initial position embeddings are 14 times weaker than its contents, so "left of" would be learned last.
    # Start from a grid instead.
    with torch.no_grad():
        positions = model.vision_model.embeddings.position_embedding.weight
        positions[1:] = grid_positions(IMAGE_SIZE // recipe.patch, recipe.width)
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

    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    CLIPImageProcessor(size={"shortest_edge": IMAGE_SIZE}, crop_size=size).save_pretrained(folder)


def load(folder: Path) -> "CLIPModel":
    """The network of a saved judge, for further training."""
    from transformers import CLIPModel

    return load_pretrained(CLIPModel, folder, dtype=torch.float32)
