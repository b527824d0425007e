"""What training each network in conf/stage/network takes, as `imagen plan` counts it: python benchmarks/plans.py"""

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from sizes import CONF, LARGE, RESOLUTIONS

from imagen.commandline.command import prepare_environment
from imagen.planning.plan import GIB, Hardware, make_plan

PICTURES = 8
"""In a batch; what is said of one picture is an eighth."""
WINDOW = 256
"""Side of what super-resolution to 1024 is trained on."""


def planned(preset: str) -> DictConfig:
    """The configuration that trains a preset on one GPU, with AdamW and captions of 128 tokens."""
    small = RESOLUTIONS.get(preset, 1)
    sizes = [small, 4 * small, 16 * small] if preset not in LARGE else [64, 256, 1024]
    name = "prior" if preset == "prior_tiny" else "base"
    if preset.startswith("sr") or preset == "demo_sr":
        name = "sr2" if small == 1024 else "sr1"
        sizes = sizes if preset in LARGE else [small // 4, small, 4 * small]
    overrides = [
        f"stage={name}",
        f"stage/network={preset}",
        f"resolutions={sizes}",
        f"data.batch_size={PICTURES}",
        f"data.crop_size={WINDOW if small == 1024 else 'null'}",
        f"text={'t5_xxl' if preset in LARGE else 'shapes_t5'}",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides)


def row(preset: str) -> str:
    """One line of the table in docs/reference/plans.md."""
    config = planned(preset)
    plan = make_plan(config, Hardware(devices=1))
    by = {variant.checkpointing: variant.cost for variant in plan.variants}
    cells = [f"`{preset}`", f"{plan.side} × {plan.side}", f"{by[False].states / GIB:.3g}"]
    for checkpointing in (False, True):
        cost = by.get(checkpointing)
        cells += ["–"] * 2 if cost is None else [f"{cost.peak / PICTURES / GIB:.2g}", f"{tera(cost.flops):.3g}"]
    return f"| {' | '.join(cells)} |"


def tera(flops: int) -> float:
    """10^12 operations for one picture."""
    return flops / PICTURES / 1e12


if __name__ == "__main__":
    prepare_environment()
    for name in [*RESOLUTIONS, "prior_tiny"]:
        print(row(name), flush=True)
