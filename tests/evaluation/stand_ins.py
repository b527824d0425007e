"""Tiny substitutes for the real classes: a random CLIPModel folder and a sampler that draws scenes."""

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import torch

from imagen.evaluation.sweep.plan import Curve, Plan
from imagen.shapes import draw, sample_scene


def clip_folder(folder: Path, image_size: int = 32, shortest_edge: int | None = None, seed: int = 0) -> Path:
    """A random CLIPModel of the real class, with a real (byte-level) CLIPTokenizer of single letters."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={token: i for i, token in enumerate(tokens)}, merges=[], model_max_length=77)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = CLIPTextConfig(
        **small,
        vocab_size=len(tokens),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(**small, image_size=image_size, patch_size=8)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(
        size={"shortest_edge": shortest_edge or image_size}, crop_size={"height": image_size, "width": image_size}
    ).save_pretrained(folder)
    return folder


class DrawingSampler:
    """Poses as a cascade: draws the prompt's scene, or another one, oftener at low weights. Keeps a record."""

    def __init__(self, prompts, resolution=16, seed=0):
        self.prompts = prompts
        self.resolution = resolution
        self.seed = seed
        self.made = []

    def curves(self, labels=("dynamic", "static"), cascade="cascade"):
        """Curves that differ by their labels alone."""
        return {label: Curve(partial(self, label), {"cascade": cascade, "thresholding": label}) for label in labels}

    def __call__(self, label, captions, picture_ids, guidance_weight):
        self.made += [(i, guidance_weight, label) for i in picture_ids]
        pictures = []
        for caption, i in zip(captions, picture_ids, strict=True):
            assert caption == self.prompts.texts[i]
            chance = np.random.default_rng((self.seed, i)).random()
            right = chance < 1 - 0.8 / max(guidance_weight, 1)
            scene = self.prompts.prompts[i].truth.scene if right else sample_scene(self.seed + 99, i, "train")
            pictures.append(draw(scene, self.resolution))
        return np.stack(pictures)


def ticks():
    """The moments of a clock that goes on by half a second whenever somebody looks."""
    return itertools.count(0.0, 0.5)


def plan(sampler, weights=(1, 4), **curves):
    """What the tests sweep: two curves at two weights."""
    return Plan(sampler.curves(**curves), weights)
