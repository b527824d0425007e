"""The folder of a vision-language model: its files, the class that loads it, and the model with its processor."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from imagen.errors import UserError
from imagen.fetching.absent import absent_error
from imagen.text.model_files import hashes_by_name, refuse_redirection, tokenizer_files, weights_files
from imagen.text.pretrained import load_pretrained

EXAMPLE = "Qwen/Qwen3-VL-8B-Instruct"
"""The model of GenEval 2's own code, named where a folder is missing."""

_PROCESSOR_FILES = (
    "additional_chat_templates/*.jinja",
    "audio_tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
"""Every further file name that a processor of transformers 5 looks for, and the token with which an answer begins."""


def model_hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file from which transformers builds the model and its processor, by file name.

    Raises:
        UserError: if there is no such folder, it holds no safetensors weights, or it makes transformers load something
            else.
    """
    if not folder.is_dir():
        raise absent_error("VLM folder", folder, EXAMPLE)
    if not any(folder.glob("model.safetensors*")):
        raise UserError(
            f"VLM folder {folder} holds no model.safetensors: only safetensors weights are read; give the folder of a "
            "complete model"
        )
    refuse_redirection(folder)
    weights = weights_files(folder)
    further = sorted(path for name in _PROCESSOR_FILES for path in folder.glob(name))
    return hashes_by_name([folder / "config.json", *weights, *tokenizer_files(folder), *further])


def class_named(name: str) -> Any:
    """The public class of transformers with that name.

    Raises:
        UserError: unless it loads models: a PreTrainedModel, or one of the Auto classes that choose one.
    """
    import transformers
    from transformers.models.auto.auto_factory import _BaseAutoModelClass

    found = getattr(transformers, name, None) if name.isidentifier() and not name.startswith("_") else None
    is_model = isinstance(found, type) and issubclass(found, transformers.PreTrainedModel | _BaseAutoModelClass)
    if not is_model or found in (transformers.PreTrainedModel, _BaseAutoModelClass):
        raise UserError(
            f"metrics.judges: model_class={name!r:.80} is no model class of transformers; give the name of one, such "
            "as AutoModelForImageTextToText"
        )
    return found


def load_model(cls: Any, folder: Path, dtype: torch.dtype) -> Any:
    """The whole model in `folder`, in evaluation mode and without gradients.

    Raises:
        UserError: if it does not load, weights are missing, or it cannot answer.
    """
    model, report = load_pretrained(cls, folder, use_safetensors=True, dtype=dtype, output_loading_info=True)
    # transformers would fill missing weights with random numbers, different ones each time.
    if absent := sorted(report["missing_keys"]):
        raise UserError(
            f"VLM folder {folder}: {len(absent)} weights are missing, first {absent[0]}; restore the folder"
        )
    if not model.can_generate():
        raise UserError(
            f"VLM folder {folder}: {type(model).__name__} gives no answers in words; name a model_class that does, "
            "such as AutoModelForImageTextToText"
        )
    model.generation_config = _only_tokens(model.generation_config)
    return model.eval().requires_grad_(False)


def load_processor(folder: Path) -> Any:
    """The processor in `folder`, for pictures and text.

    Raises:
        UserError: if it does not load, or takes only one of the two.
    """
    from transformers import AutoProcessor

    processor = load_pretrained(AutoProcessor, folder)
    if not all(hasattr(processor, part) for part in ("tokenizer", "image_processor")):
        raise UserError(
            f"VLM folder {folder}: {type(processor).__name__} does not take pictures with text; copy the processor's "
            "files (preprocessor_config.json, processor_config.json) there"
        )
    if processor.tokenizer.pad_token is None:  # padding is masked, so any token will do
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def classes_of(model: Any, processor: Any) -> Mapping[str, str]:
    """The names of the classes that read the folder, for its identity."""
    parts = {"model": model, "processor": processor, "image_processor": processor.image_processor}
    return {name: type(part).__name__ for name, part in parts.items()}


def _only_tokens(found: Any) -> Any:
    """A generation configuration with the special tokens of `found` and nothing else: no sampling, no beams, no
    assistant, whatever the folder says."""
    from transformers import GenerationConfig

    names = ("bos_token_id", "decoder_start_token_id", "eos_token_id", "pad_token_id")
    return GenerationConfig(**{name: getattr(found, name) for name in names})
