"""Tiny real vision-language models with random weights, saved with tokenizer and processor as transformers saves
them."""

from pathlib import Path

import torch

TEMPLATE = (
    "{% for message in messages %}<s>USER: {% for part in message['content'] %}{% if part['type'] == 'image' %}<image> "
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %} ASSISTANT: "
    "{% endif %}"
)
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
WORDS = (
    "Yes", "yes", "No", "no", "two", "Two", "2", "three", "3", "seven", "Does", "this", "figure", "show", "Please",
    "answer", "or", ".", "?", '"', "USER", "ASSISTANT", ":", "a", "red", "green", "blue", "circle", "square", "left",
    "of", "the", "How", "many", "circles", "are", "in", "image", "Is", "there", "Answer", "one", "word", "above",
)  # fmt: skip
SIDE = 16


def tokenizer_of_words(**more):
    """One token a word; other words are letters, so that an answer may be several tokens."""
    from string import ascii_letters, digits

    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = list(dict.fromkeys([*SPECIAL, *WORDS, *ascii_letters, *(f"##{sign}" for sign in ascii_letters + digits)]))
    model = models.WordPiece({name: index for index, name in enumerate(names)}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        **more,
    )


def save_llava(folder: Path, seed: int = 0, template: str | None = TEMPLATE) -> Path:
    """A decoder with pictures: LlavaForConditionalGeneration of a tiny CLIP and a tiny Llama."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = tokenizer_of_words(extra_special_tokens={"image_token": "<image>"})
    half = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**half, image_size=SIDE, patch_size=8),
        text_config=LlamaConfig(
            **half, vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=1, eos_token_id=2, initializer_range=0.5
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
    with torch.no_grad():  # so that answers depend on pictures
        model.model.multi_modal_projector.linear_2.weight.mul_(200)
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(folder)
    return folder


def save_blip2(folder: Path) -> Path:
    """An encoder and a decoder with pictures: Blip2ForConditionalGeneration of a tiny ViT and a tiny T5."""
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        BlipImageProcessor,
        T5Config,
    )

    tokenizer = tokenizer_of_words()
    half = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Blip2Config(
        vision_config=Blip2VisionConfig(**half, image_size=SIDE, patch_size=8).to_dict(),
        qformer_config=Blip2QFormerConfig(**half, vocab_size=len(tokenizer), encoder_hidden_size=16).to_dict(),
        text_config=T5Config(
            vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
            pad_token_id=0, decoder_start_token_id=0, eos_token_id=2,
        ).to_dict(),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Blip2ForConditionalGeneration(config)
    model.save_pretrained(folder)
    size = {"height": SIDE, "width": SIDE}
    Blip2Processor(BlipImageProcessor(size=size), tokenizer, num_query_tokens=4).save_pretrained(folder)
    return folder
