"""Tiny real models with random weights, saved as transformers saves them."""

from pathlib import Path

import torch

WORDS = ["a", "and", "red", "green", "blue", "circle", "square", "left", "of", "the"]
SPECIAL = ("<pad>", "</s>", "<unk>")


def save_tokenizer(folder: Path, words: list[str] = WORDS) -> None:
    """A word-level tokenizer that closes a caption with </s>."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = [*SPECIAL, *words]
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


def save_t5(folder: Path, seed: int = 0, width: int = 16) -> Path:
    """A T5EncoderModel."""
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=32, d_model=width, d_kv=8, d_ff=32, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
    )
    T5EncoderModel(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_bert(folder: Path) -> Path:
    """A BERT with the head of masked language modelling, which an encoder has no use for."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=20,
    )
    BertForMaskedLM(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_clip(folder: Path) -> Path:
    """A whole CLIP, pictures and text."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    half = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    text = half | {"vocab_size": 32, "max_position_embeddings": 12, "bos_token_id": 0, "eos_token_id": 1}
    config = CLIPConfig(text_config=text, vision_config=half | {"image_size": 8, "patch_size": 4}, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder
