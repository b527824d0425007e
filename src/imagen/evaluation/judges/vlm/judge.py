"""VQAScore (Lin et al., 2024) and Soft-TIFA (GenEval 2) by any vision-language model of transformers.

Both are P(answer | picture, question), a softmax over the whole vocabulary at the first position of the answer: the
last position of the question where the model has a decoder only, the first one of the decoder where it also has an
encoder.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float64
from PIL import Image
from torch import Tensor

from imagen.checks.arguments import Count
from imagen.errors import UserError
from imagen.evaluation.judges.answerer import Answerer
from imagen.evaluation.judges.extractor import pick_device
from imagen.evaluation.judges.names import answerer_name
from imagen.evaluation.judges.vlm.folder import class_named, classes_of, load_model, load_processor, model_hashes
from imagen.evaluation.judges.vlm.forms import accepted_tokens, one_token
from imagen.evaluation.prompts.prompt_set import Question
from imagen.files import user_path
from imagen.tensors import PerImage, Pixels

VQASCORE = 'Does this figure show "{caption}"? Please answer yes or no.'
"""The question of VQAScore (Lin et al., 2024, section 3), whose answer is Yes."""

SOFT_TIFA = "{question} Answer in one word."
"""How GenEval 2's code asks."""

VERSION = 1
"""Part of every fingerprint. Increase it when answers about the same pictures may have changed."""

Asked = tuple[Image.Image, str, Sequence[int]]
"""A picture, the text that is asked about it, and the tokens that count as the answer."""


class VlmJudge(Answerer):
    """A vision-language model in a folder, in evaluation mode. It is never trained.

    No weights are known as published ones, so its numbers are called `vqa[name]`, `soft_tifa_am[name]` and
    `soft_tifa_gm[name]`. A batch is padded on the left where the model has a decoder only.

    Args:
        path: folder with config.json, safetensors weights, tokenizer and processor.
        name: ends the keys of its numbers.
        model_class: name of the class of transformers that loads it.
        prompt: what is asked about a picture and its `{caption}`.
        answer: to `prompt`, of a right picture: one token of the model.
        question_prompt: how a `{question}` of the prompt set is asked. Which answers count: `accepted_tokens`.
        chat: whether texts go through the processor's chat template; null: where it has one. Without it they are taken
            as they are, and hold the token that stands for the picture where the processor does not add it.
        device: auto takes the GPU if there is one.
        batch_size: questions at a time.
        dtype: of the weights; probabilities are float32.

    Raises:
        UserError: for a folder, class, text or answer that cannot be used.
    """

    def __init__(
        self,
        path: str | Path,
        name: str,
        model_class: str = "AutoModelForImageTextToText",
        prompt: str = VQASCORE,
        answer: str = "Yes",
        question_prompt: str = SOFT_TIFA,
        chat: bool | None = None,
        device: str = "auto",
        batch_size: Count = 8,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    ) -> None:
        folder = user_path(path)
        hashes = model_hashes(folder)
        self.name = answerer_name(name, hashes)
        self.prompt = _with_place(prompt, "prompt", "{caption}")
        self.question_prompt = _with_place(question_prompt, "question_prompt", "{question}")
        self.device = torch.device(pick_device(device))
        self.batch_size = batch_size
        cls = class_named(model_class)
        self.processor = load_processor(folder)
        self.chat = self._uses_chat(chat, folder)
        self.tokens = [one_token(self.processor.tokenizer, answer)]
        self.model = load_model(cls, folder, getattr(torch, dtype)).to(self.device)
        if not self.model.config.is_encoder_decoder:
            self.processor.tokenizer.padding_side = "left"
        self.identity = {
            "class": f"transformers.{model_class}",
            "classes": dict(classes_of(self.model, self.processor)),
            "files": hashes,
            "prompt": prompt,
            "answer": answer,
            "question_prompt": question_prompt,
            "chat": self.chat,
            "dtype": dtype,
            "version": VERSION,
        }

    def caption_scores(self, pixels: Pixels, captions: Sequence[str]) -> PerImage:
        """VQAScore: P(answer | picture, prompt with its caption)."""
        texts = [self.prompt.replace("{caption}", caption) for caption in captions]
        return self._probabilities(
            [(picture, text, self.tokens) for picture, text in zip(_pictures(pixels), texts, strict=True)]
        )

    def answers(self, pixels: Pixels, questions: Sequence[Sequence[Question]]) -> list[list[float]]:
        """For each question of each picture, the sum of P(token) over all tokens that count as its answer."""
        asked = [
            (picture, self.question_prompt.replace("{question}", question.text), self._accepted(question))
            for picture, of_picture in zip(_pictures(pixels), questions, strict=True)
            for question in of_picture
        ]
        values = iter(self._probabilities(asked).tolist())
        return [[next(values) for _ in of_picture] for of_picture in questions]

    def _accepted(self, question: Question) -> list[int]:
        return accepted_tokens(self.processor.tokenizer, question)

    def _probabilities(self, asked: Sequence[Asked]) -> Float64[Tensor, "asked"]:
        parts = [self._batch(asked[start : start + self.batch_size]) for start in range(0, len(asked), self.batch_size)]
        found = torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)
        if not found.isfinite().all():
            raise UserError(f"answers of judge {self.name} contain nan or infinity: its weights are broken")
        return found

    @torch.inference_mode()
    def _batch(self, asked: Sequence[Asked]) -> Float64[Tensor, "asked"]:
        inputs = self._inputs([picture for picture, _, _ in asked], [text for _, text, _ in asked])
        try:
            # `generate` rather than a pass: it knows the positions of padded texts and the start of a decoder.
            first = self.model.generate(
                **inputs, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
            ).logits[0]
        except (ValueError, TypeError, IndexError, RuntimeError) as error:
            if isinstance(error, torch.cuda.OutOfMemoryError):
                raise
            raise UserError(f"judge {self.name} cannot answer {asked[0][1]!r:.120}: {_line(error)}") from error
        every = first.float().softmax(dim=-1).double().cpu()
        return torch.stack([row[list(tokens)].sum() for row, (_, _, tokens) in zip(every, asked, strict=True)])

    def _inputs(self, pictures: Sequence[Image.Image], texts: Sequence[str]) -> Any:
        """What the model reads, on its device."""
        options = {"padding": True, "return_tensors": "pt"}
        try:
            if self.chat:
                inputs = self.processor.apply_chat_template(
                    [_conversation(picture, text) for picture, text in zip(pictures, texts, strict=True)],
                    add_generation_prompt=True, tokenize=True, return_dict=True, processor_kwargs=options,
                )  # fmt: skip
            else:
                inputs = self.processor(text=list(texts), images=[[picture] for picture in pictures], **options)
        except (ValueError, TypeError, IndexError, RuntimeError, AttributeError) as error:
            raise UserError(
                f"judge {self.name}: its processor does not take a picture with {texts[0]!r:.120}: {_line(error)}"
            ) from error
        return inputs.to(self.device, self.model.dtype)

    def _uses_chat(self, chat: bool | None, folder: Path) -> bool:
        known = bool(getattr(self.processor, "chat_template", None))
        if chat and not known:
            raise UserError(
                f"VLM folder {folder} has no chat template, and chat=true asks for it; set metrics.judges' chat=false, "
                "and write the whole text as prompt"
            )
        return known if chat is None else chat


def _conversation(picture: Image.Image, text: str) -> list[dict[str, Any]]:
    content = [{"type": "image", "image": picture}, {"type": "text", "text": text}]
    return [{"role": "user", "content": content}]


def _pictures(pixels: Pixels) -> list[Image.Image]:
    return [Image.fromarray(one) for one in pixels.numpy()]


def _with_place(text: str, key: str, place: str) -> str:
    """`text`, which must hold `place`. Raises UserError if it does not."""
    if place not in text:
        raise UserError(f"metrics.judges: {key}={text!r:.120} must hold {place}, where that is put")
    return text


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
