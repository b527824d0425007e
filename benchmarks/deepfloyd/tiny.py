"""Tiny DeepFloyd IF stages with random weights, saved as diffusers saves them: classes and layout of the real."""

import io
import json
import random
from pathlib import Path

import torch

SIDES = (16, 64)
TEXT_WIDTH = 16
IF_I = {
    "sample_size": SIDES[0],
    "in_channels": 3,
    "out_channels": 6,
    "layers_per_block": 1,
    "block_out_channels": [16, 32],
    "down_block_types": ["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": ["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"],
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
    "encoder_hid_dim": TEXT_WIDTH,
    "encoder_hid_dim_type": "text_proj",
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 2,
    "cross_attention_norm": "group_norm",
    "resnet_time_scale_shift": "scale_shift",
    "act_fn": "gelu",
    "norm_num_groups": 8,
}
IF_II = IF_I | {
    "sample_size": SIDES[1],
    "in_channels": 6,
    "class_embed_type": "timestep",
    "block_out_channels": [8, 16, 16],
    "layers_per_block": [1, 1, 2],
    "down_block_types": ["ResnetDownsampleBlock2D", "ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
    "up_block_types": ["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"],
    "resnet_skip_time_act": True,
    "resnet_out_scale_factor": 1.41423,
    "mid_block_scale_factor": 1.41423,
    "time_embedding_act_fn": "gelu",
}
DDPM = {
    "num_train_timesteps": 1000,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "epsilon",
    "variance_type": "learned_range",
    "thresholding": True,
    "dynamic_thresholding_ratio": 0.95,
    "clip_sample": False,
}


def save_if_base(folder: Path, seed: int = 0) -> Path:
    """A tiny IF-I, with its T5."""
    _save_unet(folder, IF_I, seed)
    _save_t5(folder)
    return folder


def save_if_upscaler(folder: Path, seed: int = 1) -> Path:
    """A tiny IF-II, without a T5."""
    from diffusers import DDPMScheduler

    _save_unet(folder, IF_II, seed, sample_max_value=1.0)
    DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2").save_pretrained(
        folder / "image_noising_scheduler"
    )
    return folder


def _save_unet(folder: Path, config: dict, seed: int, sample_max_value: float = 1.5) -> None:
    from diffusers import DDPMScheduler, UNet2DConditionModel

    torch.manual_seed(seed)
    unet = UNet2DConditionModel.from_config(config)
    with torch.no_grad():
        for weight in unet.parameters():  # biases and norms too, so that none could be lost unseen
            weight.add_(0.05 * torch.randn_like(weight))
        # A trained network is less chaotic than a random one, in which rounding grows from step to step.
        unet.conv_out.weight.mul_(0.3)
    unet.save_pretrained(folder / "unet")
    DDPMScheduler(**DDPM, sample_max_value=sample_max_value).save_pretrained(folder / "scheduler")


def _save_t5(folder: Path) -> None:
    """A T5 and a sentencepiece tokenizer, in the two sub-folders of a pipeline."""
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=32, d_model=TEXT_WIDTH, d_kv=8, d_ff=32, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
    )
    T5EncoderModel(config).save_pretrained(folder / "text_encoder")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "spiece.model").write_bytes(_sentencepiece())
    tokenizer = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "additional_special_tokens": []}
    names = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(tokenizer | names))


def _sentencepiece() -> bytes:
    """A model of fewer than 32 pieces, in lower case."""
    import sentencepiece

    words = ["a", "red", "circle", "and", "blue", "square", "green", "of", "the"]
    drawn = random.Random(0)
    sentences = [" ".join(drawn.sample(words, 6)) for _ in range(200)]
    written = io.BytesIO()
    special = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=written, vocab_size=30, minloglevel=2, **special
    )
    return written.getvalue()
