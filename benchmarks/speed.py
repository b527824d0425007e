"""Speed of our U-Nets and imagen-pytorch's, in one process: python benchmarks/speed.py

Matched: 32 × 32 images, batch 16, 32 text tokens of width 512, widths 64, 128, 256, two residual blocks per level,
attention once per level and direction at the lower two, about 20 M parameters, `unet` no fewer than theirs. `efficient`
is our other network with the same number of parameters (bottom width 384). `published` is `efficient` with its first
level at half resolution, as in the paper: the same number of parameters, but less work. A training step is forward,
mean squared error to the noise, backward and fused AdamW. A guided sampling step is the networks' part of one step at
guidance weight 3: theirs by `forward_with_cond_scale` (two passes), ours in one pass with twice the batch. All run in
turns, with the same autocast and tensors; the ratio is the median over the turns.
"""

import argparse
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from peer import make_peer
from torch import Tensor, nn

from imagen.diffusion.conditioning import Conditioning, TextSignal
from imagen.networks.attention import SelfAttentionSpec
from imagen.networks.efficient_unet import EfficientUNet
from imagen.networks.levels import LevelSpec
from imagen.networks.unet import UNet

BATCH, RESOLUTION, TOKENS, TEXT_FEATURES, WEIGHT = 16, 32, 32, 512, 3.0
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


def make_unet() -> nn.Module:
    attention = SelfAttentionSpec(head_channels=64)
    levels = [
        LevelSpec(64, 2, stride=1),
        LevelSpec(128, 2, attention, attention_every=2),
        LevelSpec(256, 2, attention, attention_every=2),
    ]
    return UNet(levels, TEXT_FEATURES, embedding_features=384)


def make_efficient(first_stride: int = 1) -> nn.Module:
    attention = SelfAttentionSpec(head_channels=64, expansion=2)
    levels = [
        LevelSpec(64, 2, stride=first_stride),
        LevelSpec(128, 2, attention, attention_every=2),
        LevelSpec(384, 2, attention, attention_every=2),
    ]
    return EfficientUNet(levels, TEXT_FEATURES, embedding_features=288, stem_channels=64, low_res=False)


OURS: dict[str, Callable[[], nn.Module]] = {
    "unet": make_unet,
    "efficient": make_efficient,
    "published": partial(make_efficient, first_stride=2),
}


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def training_step(network: nn.Module, predict: Callable[[], Tensor], eps: Tensor) -> Callable[[], None]:
    """Forward, loss, backward, optimizer step, gradients cleared."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        F.mse_loss(predict().float(), eps).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


@dataclass(frozen=True)
class Inputs:
    """The inputs of every network."""

    z: Tensor
    eps: Tensor
    log_snr: Tensor
    conditioning: Conditioning

    @classmethod
    def random(cls, device: str) -> Self:
        z, eps = torch.randn(2, BATCH, 3, RESOLUTION, RESOLUTION, device=device)
        text = torch.randn(BATCH, TOKENS, TEXT_FEATURES, device=device)
        mask = torch.ones(BATCH, TOKENS, dtype=torch.bool, device=device)
        return cls(z, eps, torch.randn(BATCH, device=device), Conditioning(text=TextSignal(text, mask)))


Step = Callable[[], object]


def our_steps(network: nn.Module, inputs: Inputs, autocast: torch.autocast) -> dict[str, Step]:
    """One training step and one guided sampling step of ours."""
    z, log_snr, conditioning = inputs.z, inputs.log_snr, inputs.conditioning

    @autocast
    def predict() -> Tensor:
        return network(z, log_snr, conditioning)

    @torch.no_grad()
    @autocast
    def guided() -> Tensor:
        both = conditioning.concat(conditioning.without("text"))
        conditional, unconditional = network(torch.cat([z, z]), torch.cat([log_snr, log_snr]), both).chunk(2)
        return unconditional + WEIGHT * (conditional - unconditional)

    return {"training": training_step(network, predict, inputs.eps), "guided": guided}


def their_steps(network: nn.Module, inputs: Inputs, autocast: torch.autocast) -> dict[str, Step]:
    """One training step and one guided sampling step of imagen-pytorch."""
    text = {"text_embeds": inputs.conditioning.text, "text_mask": inputs.conditioning.text_mask}

    @autocast
    def predict() -> Tensor:
        return network(inputs.z, inputs.log_snr, cond_drop_prob=0.1, **text)

    @torch.no_grad()
    @autocast
    def guided() -> Tensor:
        return network.forward_with_cond_scale(inputs.z, inputs.log_snr, cond_scale=WEIGHT, **text)

    return {"training": training_step(network, predict, inputs.eps), "guided": guided}


def make_steps(dtype: torch.dtype, device: str) -> dict[str, dict[str, Step]]:
    """The timed steps: {"training" | "guided": {name of a network: one step}}."""
    torch.manual_seed(0)
    inputs = Inputs.random(device)
    autocast = torch.autocast(device, dtype, enabled=dtype != torch.float32)
    steps = {name: our_steps(make().to(device), inputs, autocast) for name, make in OURS.items()}
    steps["theirs"] = their_steps(make_peer(TEXT_FEATURES).to(device), inputs, autocast)
    return {what: {name: step[what] for name, step in steps.items()} for what in ("training", "guided")}


def cpu_name() -> str:
    """The processor's name as the kernel gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def seconds(step: Callable[[], object], device: str) -> tuple[float, float]:
    """Wall-clock and processor time of one call."""
    if device == "cuda":
        torch.cuda.synchronize()
    wall, processor = time.perf_counter(), time.process_time()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - processor


def compare(steps: dict[str, Step], turns: int, device: str) -> dict[str, dict[str, float]]:
    """The median time in ms of each network; for ours also theirs / ours, by wall-clock and by processor time."""
    for step in steps.values():
        step()
    times = [{name: seconds(step, device) for name, step in steps.items()} for _ in range(turns)]
    result = {name: {"ms": 1e3 * statistics.median(turn[name][0] for turn in times)} for name in steps}
    for name in OURS:
        ratios = [[turn["theirs"][clock] / turn[name][clock] for turn in times] for clock in (0, 1)]
        result[name] |= {
            "times_faster": statistics.median(ratios[0]),
            "times_faster_range": [min(ratios[0]), max(ratios[0])],
            "times_less_processor_time": statistics.median(ratios[1]),
        }
    return result


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=DTYPES)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "speed.json")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    parameters = {name: count(make()) for name, make in OURS.items()} | {"theirs": count(make_peer(TEXT_FEATURES))}
    assert min(parameters.values()) == parameters["theirs"], parameters
    report: dict[str, object] = {
        "machine": cpu_name(),
        "device": options.device,
        "threads": options.threads,
        "torch": torch.__version__,
        "turns": options.turns,
        "parameters": parameters,
        "load_before": os.getloadavg()[0],
    }
    print(report, flush=True)
    for dtype in options.dtypes:
        for work, steps in make_steps(DTYPES[dtype], options.device).items():
            report[f"{work}_{dtype}"] = result = compare(steps, options.turns, options.device)
            ours = ", ".join(
                f"{n} {result[n]['ms']:.0f} ms ({result[n]['times_faster']:.2f} times faster)" for n in OURS
            )
            print(f"{work:>8} {dtype:>8}: theirs {result['theirs']['ms']:.0f} ms, {ours}", flush=True)
    report["load_after"] = os.getloadavg()[0]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
