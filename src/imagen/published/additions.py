"""Exported additions (LoRA) to published weights: loaded on top of them, and written for peft and diffusers."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from imagen.diffusion.denoiser import Denoiser
from imagen.errors import UserError
from imagen.fetching.lock import models_folder
from imagen.networks.adapters.low_rank import NAMED, is_addition, name_without
from imagen.published.folder import is_published, read_weights, sha256_of, weights_of
from imagen.published.text import PublishedText
from imagen.stages.export import (
    StageDescription,
    TrainedStage,
    describe_misfit,
    read_description,
    read_state,
    ready_to_sample,
    stage_part,
)

FOLDER = "adapter"
"""Of an export: the additions as peft writes them."""

IN_THE_UNET = "network.network.unet."
"""What a denoiser with additions puts before the names of the U-Net's parts."""


def load_additions(folder: Path, device: torch.device | str = "cpu") -> TrainedStage:
    """The stage that the additions in `folder` and the published weights they were trained on make.

    Raises:
        UserError: if either is missing, damaged, or not what was trained.
    """
    description = read_description(folder)
    place = published_folder(folder, description)
    files = weights_of(place)
    wanted = (description.adds_to or {}).get("weights_sha256", "")
    if (found := sha256_of(files)) != wanted:
        raise UserError(f"{folder} adds to the weights {wanted:.12}…, and those in {place} are {found:.12}…")
    published = {f"network.{name}": tensor for name, tensor in read_weights(files).items()}
    text = PublishedText.of(description.text_source or {}, [place])
    published["network.empty_prompt"] = text.empty_prompt[0]
    with torch.device("meta"):
        denoiser = stage_part(Denoiser, description.denoiser, "denoiser")
    names, own = denoiser.state_dict(), read_state(folder, description)
    state = own | {name: published[plain] for name in names if (plain := name_without(name)) in published}
    if misfit := describe_misfit(names, state):
        raise UserError(f"{folder}, on the weights in {place}: {misfit}; export the run again")
    denoiser.load_state_dict(state, assign=True)
    return ready_to_sample(description, denoiser, device)


def published_folder(folder: Path, description: StageDescription) -> Path:
    """Where the published weights are that `folder` adds to: where they were, or in models/ under that name.

    Raises:
        UserError: if they are in neither place.
    """
    recorded = Path((description.adds_to or {}).get("path", ""))
    places = [recorded, models_folder() / recorded.name]
    for place in places:
        if is_published(place):
            return place
    looked = " or ".join(str(place) for place in places)
    raise UserError(f"{folder} adds to published weights that are not in {looked}: put them there", environment=True)


def write_for_peft(folder: Path, description: StageDescription, weights: Mapping[str, Tensor]) -> None:
    """Write the additions among the `weights` of a denoiser into `folder`/adapter, for `peft` and `diffusers`."""
    from peft import LoraConfig
    from safetensors.torch import save_file

    lora = description.denoiser["network"]
    state = {
        f"base_model.model.{name.removeprefix(IN_THE_UNET).replace(NAMED, '.')}": tensor.detach().cpu().contiguous()
        for name, tensor in weights.items()
        if is_addition(name)
    }
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    save_file(state, folder / FOLDER / "adapter_model.safetensors", metadata={"format": "pt"})
    path = (description.adds_to or {}).get("path")
    config = LoraConfig(
        r=lora["rank"], lora_alpha=lora["alpha"], target_modules=lora["targets"], base_model_name_or_path=path
    )
    config.inference_mode = True
    config.save_pretrained(str(folder / FOLDER))
