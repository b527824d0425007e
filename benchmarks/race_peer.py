"""imagen-pytorch in benchmarks/race.py: its networks, loss, trainer and sampler.

A stage is trained by `python benchmarks/race_peer.py`, in a process of its own: its trainer trains one U-Net at a time.
"""

import argparse
import json
import math
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from peer import import_peer
from race_noise import OUR_LOWRES, OURS, Noise
from race_rules import RESOLUTIONS, STAGES, Contestant, Point, Rules, Sample
from torch.optim.lr_scheduler import LambdaLR

from imagen.commandline.command import prepare_environment
from imagen.commandline.together import run_together
from imagen.concurrency.processes import threads_each
from imagen.data.module import make_data
from imagen.errors import UserError
from imagen.files import replacing, write_json
from imagen.instantiation import instantiate
from imagen.places import ROOT
from imagen.tensors import Images
from imagen.text.embeddings import TextEmbeddings

SHARED = {
    "num_resnet_blocks": 1,
    "attn_heads": 4,
    "attn_dim_head": 32,
    "attn_pool_text": False,
    "max_text_len": 32,
    "init_cross_embed": False,
    "init_conv_kernel_size": 3,
}
"""Of both U-Nets. Its defaults pad each caption to 256 tokens, pool them to 32 and begin with convolutions of 3, 7 and
15 pixels: for captions of up to 30 tokens and pictures of 8 pixels, half the steps in the same minutes or fewer."""
UNETS: tuple[dict[str, Any], ...] = (
    {**SHARED, "dim": 64, "dim_mults": (1, 2), "layer_attns": True, "layer_cross_attns": True},
    {
        **SHARED,
        "dim": 32,
        "dim_mults": (1, 2),
        "layer_attns": (False, True),
        "layer_cross_attns": (False, True),
        "memory_efficient": True,  # as its SRUnet256
        "final_resnet_block": False,
        "lowres_cond": True,
    },
)
"""About our numbers of parameters, and attention at our resolutions."""


@dataclass(frozen=True)
class Recipe:
    """What one contestant gives to imagen-pytorch besides the U-Nets.

    `imagen` and `trainer` are arguments of Imagen and ImagenTrainer, in the place of their defaults. `our_optimizer`:
    the optimizer of conf/experiment/demo_*.yaml with its warm-up and cosine, in the place of Adam. `elucidated`: steps
    of each stage for its other class, ElucidatedImagen (Karras et al. 2022), whose sampler needs fewer. `noise`: in the
    place of its own.
    """

    description: str
    imagen: Mapping[str, Any] = field(default_factory=dict)
    trainer: Mapping[str, Any] = field(default_factory=dict)
    our_optimizer: bool = False
    elucidated: tuple[int, int] | None = None
    noise: Noise | None = None


OUR_TRAINING = {"max_grad_norm": 1.0, "ema_beta": 0.99, "ema_update_every": 1, "ema_update_after_step": 0}
AUGMENTATION = {"per_sample_random_aug_noise_level": True}
RECIPES = {
    "peer": Recipe(
        "imagen-pytorch, its defaults: Adam 5e-4, EMA 0.9999 every 10 steps, cosine schedules, noise prediction",
        trainer={"lr": 5e-4},
    ),
    "peer-muon": Recipe(
        "imagen-pytorch with our Muon, learning rate schedule, clipping and EMA 0.99",
        trainer=OUR_TRAINING,
        our_optimizer=True,
    ),
    "peer-best": Recipe(
        "as peer-muon, with v-prediction, our shifted schedules, and our noise on the small pictures",
        imagen={"pred_objectives": "v", **AUGMENTATION},
        trainer=OUR_TRAINING,
        our_optimizer=True,
        noise=OURS,
    ),
    "peer-elucidated": Recipe(
        "as peer-best, with its ElucidatedImagen (own noise levels) in the place of Imagen, 64 and 32 steps",
        imagen=AUGMENTATION,
        trainer=OUR_TRAINING,
        our_optimizer=True,
        elucidated=(64, 32),
        noise=OUR_LOWRES,
    ),
}


def make_imagen(recipe: Recipe, text_features: int, timesteps: Sequence[int] = (1000, 1000)) -> Any:
    """Both U-Nets. `timesteps`: the sampler's, of each; training does not depend on them."""
    peer = import_peer()
    unets = tuple(peer.Unet(**arguments, text_embed_dim=text_features) for arguments in UNETS)
    # Its default, nearest, makes the small pictures of every fourth pixel.
    options = {"image_sizes": RESOLUTIONS, "text_embed_dim": text_features, "resize_mode": "area", **recipe.imagen}
    if recipe.elucidated:
        imagen = peer.ElucidatedImagen(unets, num_sample_steps=tuple(timesteps), **options)
    else:
        imagen = peer.Imagen(unets, timesteps=tuple(timesteps), **options)
    if recipe.noise:
        recipe.noise.give(imagen)
    return imagen


class Peer(Contestant):
    """One recipe. Its minutes are those of the training loop alone."""

    def __init__(self, name: str) -> None:
        self.name, self.recipe = name, RECIPES[name]
        self.description = self.recipe.description

    def train(self, rules: Rules, folder: Path) -> dict[str, Any]:
        commands = {
            stage: f"benchmarks/race_peer.py {self.name} {stage} --seconds {60 * rules.minutes} --threads "
            f"{threads_each(len(STAGES))} --cache {shlex.quote(str(rules.cache))} --out {shlex.quote(str(folder))}"
            for stage in STAGES
        }
        print("\n".join(f"    python {command}" for command in commands.values()), flush=True)
        if code := run_together(commands):
            raise UserError(f"{self.name}: a training ended with exit code {code}; its lines above say why")
        facts = {stage: json.loads((folder / f"{stage}.json").read_text()) for stage in STAGES}
        return {"minutes": max(fact["seconds"] for fact in facts.values()) / 60, **facts}

    def points(self, weights: Sequence[float], timesteps: Sequence[int]) -> list[Point]:
        chosen = [self.recipe.elucidated] if self.recipe.elucidated else [(steps, steps) for steps in sorted(timesteps)]
        return [Point(weight, steps) for steps in chosen for weight in weights]

    def sampler(self, folder: Path, point: Point) -> Sample:
        trained = [torch.load(folder / f"{stage}.pt", weights_only=True) for stage in STAGES]
        imagen = make_imagen(self.recipe, trained[0]["text_to_cond.weight"].shape[1], point.steps).eval()
        for unet, weights in zip(imagen.unets, trained, strict=True):
            unet.load_state_dict(weights)

        def sample(text: TextEmbeddings) -> Images:
            torch.manual_seed(0)
            values, mask = text.pad()
            made = imagen.sample(
                text_embeds=values, text_masks=mask, cond_scale=point.weights, use_tqdm=sys.stderr.isatty()
            )
            return 2 * made - 1

        return sample


def train_stage(recipe: Recipe, stage: str, seconds: float, cache: Path, folder: Path) -> None:
    """Train one U-Net for `seconds` and save its average and what is to be known of it."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        overrides = [f"experiment=demo_{stage}", f"paths.cache={cache}", f"data.resolution={RESOLUTIONS[-1]}"]
        config = compose("train", overrides)  # it makes its own small pictures
    data = make_data(config.data)
    data.prepare_data()
    number = STAGES.index(stage) + 1
    torch.manual_seed(0)
    trainer = make_trainer(make_imagen(recipe, config.text_features), recipe, number, config.stage, seconds)
    batches, losses, started, told = iter(data.train_dataloader()), [], time.monotonic(), 0.0
    while (elapsed := time.monotonic() - started) < seconds:
        batch = next(batches)
        images = (batch.images + 1) / 2
        text = {"text_embeds": batch.text, "text_masks": batch.text_mask}
        losses.append(trainer(images, **text, unet_number=number))
        trainer.update(unet_number=number)
        if elapsed >= told:
            print(f"{elapsed:.0f} of {seconds:.0f} s, step {len(losses)}, loss {_mean(losses[-50:]):.3f}", flush=True)
            told = elapsed + 15
    unet = trainer.get_ema_unet(number).ema_model
    with replacing(folder / f"{stage}.pt") as file:
        torch.save(unet.state_dict(), file)
    facts = {
        "parameters": sum(parameter.numel() for parameter in unet.parameters()),
        "steps": len(losses),
        "batch_size": config.data.batch_size,
        "seconds": elapsed,
        "first_loss": _mean(losses[:50]),
        "last_loss": _mean(losses[-50:]),
    }
    write_json(facts, folder / f"{stage}.json")


def make_trainer(imagen: Any, recipe: Recipe, number: int, stage: DictConfig, seconds: float) -> Any:
    """Its trainer, for U-Net `number`, in bfloat16 on the CPU."""
    options = {"precision": "bf16", "accelerate_cpu": True, "verbose": False}
    trainer = import_peer().ImagenTrainer(imagen, only_train_unet_number=number, **options, **recipe.trainer)
    if recipe.our_optimizer:
        optimizer = instantiate(stage.optimizer)(imagen.unets[number - 1].parameters())
        setattr(trainer, f"optim{number - 1}", optimizer)
        factor = warmup_then_cosine_of_time(stage.lr_schedule.warmup_steps, seconds)
        setattr(trainer, f"scheduler{number - 1}", LambdaLR(optimizer, factor))
    return trainer


def warmup_then_cosine_of_time(warmup_steps: int, seconds: float) -> Callable[[int], float]:
    """`imagen.stages.lr.warmup_then_cosine` for a training that ends after `seconds`, counted from this call."""
    started = time.monotonic()

    def factor(step: int) -> float:
        progress = min(1.0, (time.monotonic() - started) / seconds)
        return min(1.0, (step + 1) / (warmup_steps + 1)) * 0.5 * (1 + math.cos(math.pi * progress))

    return factor


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train one stage of a contestant of benchmarks/race.py.")
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    prepare_environment()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    train_stage(RECIPES[options.recipe], options.stage, options.seconds, options.cache, options.out)


if __name__ == "__main__":
    main()
