"""Whether a cascade of DeepFloyd IF here is that of diffusers' own pipelines: same weights, same noise, every step.

    python -m benchmarks.deepfloyd.equality                                     # tiny stages with random weights
    python -m benchmarks.deepfloyd.equality --base /models/IF-I-M --upscaler /models/IF-II-M     # the published ones

Printed is, for each sampler, the distance between the noisy pictures of both at the start, in the middle and at the
end, over the size of diffusers'; and how far either is from its own float32 when the network runs in bfloat16.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks.deepfloyd.tiny import save_if_base, save_if_upscaler
from imagen.cascade.settings import SamplingSettings
from imagen.commandline.command import prepare_environment
from imagen.diffusion.conditioning import Conditioning, ImageSignal, TextSignal
from imagen.diffusion.discrete.spacing import LeadingSpacing, ListedTimes
from imagen.diffusion.guidance import ClassifierFreeGuidance
from imagen.diffusion.samplers import DDPMSampler, DPMSolverPP2M, Sampler
from imagen.diffusion.thresholding import DynamicThresholding
from imagen.progress import counting
from imagen.randomness import make_generator, randn_per_image
from imagen.sampling.text_to_image import TextToImage

PROMPTS = ["a red circle", "A blue square and a green circle "]
IDS = range(len(PROMPTS))
STEPS = 12
UNEVEN = [995, 980, 801, 640, 500, 333, 250, 120, 61, 20, 3, 0]
WEIGHTS = (7.0, 4.0)
CAPS = (1.5, 1.0)
NOISE_LEVEL = 250
PIPELINES = "diffusers.pipelines.deepfloyd_if"
DRAWS = (f"{PIPELINES}.pipeline_if", f"{PIPELINES}.pipeline_if_superresolution", "diffusers.schedulers.scheduling_ddpm")
"""Modules of diffusers that draw noise."""


def _solver(scheduler: Any) -> Any:
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler.from_config(scheduler.config, algorithm_type="dpmsolver++")


@dataclass(frozen=True)
class Case:
    """One sampler in both worlds. `times`: of diffusers' scheduler, None for its own; `scheduler`: made of the
    published one."""

    sampler: Sampler
    times: Sequence[int] | None = None
    scheduler: Callable[[Any], Any] = field(default=lambda published: published)


ANCESTRAL = DDPMSampler(STEPS, LeadingSpacing(), learned_variance=True)
EVEN = [t * (1000 // STEPS) for t in range(STEPS)][::-1]
CASES: Mapping[str, Case] = {
    "ancestral, learned variance": Case(ANCESTRAL),
    "the same, uneven times": Case(replace(ANCESTRAL, spacing=ListedTimes(UNEVEN)), UNEVEN),
    "DPM-Solver++(2M)": Case(DPMSolverPP2M(STEPS, LeadingSpacing()), EVEN, _solver),
}


@dataclass(frozen=True)
class Walk:
    """The noisy pictures of every step and the pictures at the end: (steps + 1, pictures, 3, side, side), float32."""

    z: Tensor

    def distances(self, other: "Walk") -> Tensor:
        """By step, the distance from `other` over the size of `other`."""
        return (self.z - other.z).flatten(1).norm(dim=1) / other.z.flatten(1).norm(dim=1)


class Pair:
    """A stage here and in diffusers, from the same folder.

    Args:
        base: folder of IF-I.
        upscaler: folder of IF-II, if it is the stage.
    """

    def __init__(self, base: Path, upscaler: Path | None = None) -> None:
        folders = [base] if upscaler is None else [base, upscaler]
        self.folder, self.index = folders[-1], len(folders) - 1
        self.models = {
            kind: TextToImage.load(*folders, precision=precision)
            for kind, precision in ((torch.float32, "32-true"), (torch.bfloat16, "bf16-mixed"))
        }
        model = self.models[torch.float32]
        self.stage = model.cascade.stages[self.index].model
        text = TextSignal(*model.text.embed(PROMPTS).pad())
        self.given = Conditioning(text=text)
        if self.index:
            drawn, side = torch.Generator().manual_seed(5), model.stages[0].resolution
            small = torch.tanh(torch.randn(len(PROMPTS), 3, side, side, generator=drawn))
            self.given = Conditioning(self.given, smaller=ImageSignal(small))

    def ours(self, case: Case, weight: float, dtype: torch.dtype = torch.float32) -> Walk:
        model, asked = self.models[dtype], []
        settings = SamplingSettings(
            case.sampler,
            ClassifierFreeGuidance(weight),
            DynamicThresholding(0.95, CAPS[self.index]),
            aug_level=NOISE_LEVEL / 1000,
        )
        handle = _kept(model.cascade.stages[self.index].model.denoiser.network.unet, asked)
        try:
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                every = [settings] * (self.index + 1)
                pictures = model.cascade.sample(self.given, 0, IDS, every, first=self.index)[-1]
        finally:
            handle.remove()
        return Walk(torch.stack([*asked, pictures]))

    def theirs(self, case: Case, weight: float, dtype: torch.dtype = torch.float32) -> Walk:
        pipeline, asked = self._pipeline(case, dtype), []
        _kept(pipeline.unet, asked)
        text, empty = self.given["text"].values, self.stage.denoiser.network.empty_prompt
        enlarged = {}
        if self.index:
            enlarged = {"image": self.given["smaller"].images.to(dtype), "noise_level": NOISE_LEVEL}
        noise = self._noise()
        with ExitStack() as stack:
            for module in DRAWS:
                stack.enter_context(patch(f"{module}.randn_tensor", noise))
            pictures = pipeline(
                prompt_embeds=text.to(dtype),
                negative_prompt_embeds=empty.expand_as(text).to(dtype),
                guidance_scale=weight,
                timesteps=case.times,
                num_inference_steps=STEPS,
                output_type="pt",
                **enlarged,
            ).images
        return Walk(torch.stack([*asked, pictures.float()]))

    def _pipeline(self, case: Case, dtype: torch.dtype) -> Any:
        from diffusers import DDPMScheduler, IFPipeline, IFSuperResolutionPipeline, UNet2DConditionModel

        unet = UNet2DConditionModel.from_pretrained(self.folder / "unet", torch_dtype=dtype).eval()
        scheduler = case.scheduler(DDPMScheduler.from_pretrained(self.folder / "scheduler"))
        absent = ("tokenizer", "text_encoder", "safety_checker", "feature_extractor", "watermarker")
        parts = dict.fromkeys(absent) | {"unet": unet, "scheduler": scheduler, "requires_safety_checker": False}
        if self.index:
            noising = DDPMScheduler.from_pretrained(self.folder / "image_noising_scheduler")
            pipeline = IFSuperResolutionPipeline(**parts, image_noising_scheduler=noising)
        else:
            pipeline = IFPipeline(**parts)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _noise(self) -> Callable[..., Tensor]:
        """diffusers' `randn_tensor`, which gives what our stage draws: it noises the smaller pictures first."""
        drawn = [make_generator(0, "picture", i, self.stage.name) for i in IDS]
        shape = (3, self.stage.resolution, self.stage.resolution)
        rest = [randn_per_image(drawn, shape) for _ in range(STEPS + 1 + self.index)]
        rest[: 1 + self.index] = rest[: 1 + self.index][::-1]

        def randn_tensor(*_: Any, dtype: torch.dtype | None = None, **__: Any) -> Tensor:
            return rest.pop(0).to(dtype or torch.float32)

        return randn_tensor


def _kept(unet: torch.nn.Module, asked: list[Tensor]) -> Any:
    """Keeps in `asked` the z of every step that the U-Net is called with, of as many pictures as there are prompts."""
    return unet.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0][: len(PROMPTS), :3].float().clone()))


def table(pairs: Mapping[str, Pair]) -> str:
    """The distances as a table of Markdown."""
    rows = ["| stage | sampler | weight | step 1 | step 6 | picture | bf16, ours | bf16, diffusers |", "|" + "---|" * 8]
    cells = [(name, case, weight) for name in pairs for case in CASES for weight in (WEIGHTS[pairs[name].index], 1.0)]
    with counting("walks", len(cells)) as advance:
        for name, case, weight in cells:
            pair, settings = pairs[name], CASES[case]
            ours, theirs = pair.ours(settings, weight), pair.theirs(settings, weight)
            equal = ours.distances(theirs)[[1, STEPS // 2, -1]].tolist()
            low = [
                float(walk(settings, weight, torch.bfloat16).distances(whole)[-1])
                for walk, whole in ((pair.ours, ours), (pair.theirs, theirs))
            ]
            numbers = " | ".join([*(f"{x:.1e}" for x in equal), *(f"{x:.3f}" for x in low)])
            rows.append(f"| {name} | {case} | {weight:g} | {numbers} |")
            advance()
    return "\n".join(rows)


def main() -> None:
    prepare_environment()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, help="folder of IF-I; without one, tiny stages are made")
    parser.add_argument("--upscaler", type=Path, help="folder of IF-II")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = given.base or save_if_base(Path(folder) / "IF-I")
        upscaler = given.upscaler or (None if given.base else save_if_upscaler(Path(folder) / "IF-II"))
        pairs = {"IF-I": Pair(base)} | ({"IF-II": Pair(base, upscaler)} if upscaler else {})
        print(table(pairs))


if __name__ == "__main__":
    main()
