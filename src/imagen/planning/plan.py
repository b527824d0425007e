"""The plan of a training: what its GPUs hold, and how long a step takes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig

from imagen.checks.arguments import Count, described, fits
from imagen.data.sampler import check_batch_size
from imagen.errors import UserError
from imagen.instantiation import as_dict
from imagen.planning.sharing import Sharing
from imagen.planning.step import StepCost, checkpoint_blocks, planned_stage, step_cost
from imagen.published.adoption import adopt

GIB = 2**30


@dataclass(frozen=True)
class Hardware:
    """What a training is to run on.

    Args:
        devices: number of GPUs; None: `trainer.devices` × `trainer.num_nodes`, 1 where the machine is to decide.
        tflops: of one GPU at its peak, in 10^12 operations a second: 989 are those of an H100 in bfloat16.
        share: of that peak which a training reaches, in (0, 1]: a guess until it is measured.
        memory: of one GPU, in GiB.

    Raises:
        UserError: if a number is out of range.
    """

    devices: Count | None = None
    tflops: float = 989.0
    share: float = 0.4
    memory: float = 80.0

    def __post_init__(self) -> None:
        if not (self.tflops > 0 and self.memory > 0 and 0 < self.share <= 1):
            raise UserError(
                f"tflops={self.tflops}, memory={self.memory} and share={self.share}: the first two must be above 0, "
                "the share of the peak above 0 and up to 1"
            )

    def seconds(self, flops: int) -> float:
        """That one GPU takes."""
        return flops / (self.tflops * 1e12 * self.share)


@dataclass(frozen=True)
class Variant:
    """A training with its blocks recomputed in the backward pass, or not."""

    checkpointing: bool
    cost: StepCost


@dataclass(frozen=True)
class Plan:
    """A training on `hardware`.

    Attributes:
        stage: its role.
        network: its class.
        optimizer: its class.
        parameters: of the network.
        side: of the pictures, in pixels.
        batch_size: pictures in each process and batch.
        accumulate: batches in an optimizer step.
        max_steps: of the optimizer.
        precision: of the trainer.
        variants: the configured one first.
    """

    hardware: Hardware
    sharing: Sharing
    stage: str
    network: str
    optimizer: str
    parameters: int
    side: int
    batch_size: int
    accumulate: int
    max_steps: int
    precision: str
    variants: Sequence[Variant]

    @property
    def pictures(self) -> int:
        """In an optimizer step, of all processes."""
        return self.batch_size * self.accumulate * self.sharing.devices

    def flops(self, cost: StepCost) -> int:
        """Of one GPU in an optimizer step."""
        return cost.flops * self.accumulate + cost.step_flops

    def seconds(self, cost: StepCost) -> float:
        """An optimizer step, without reading data and without passing on gradients and weights."""
        return self.hardware.seconds(self.flops(cost))

    def fitting(self, cost: StepCost) -> int:
        """About how many pictures a batch may have: what passes need is taken to grow with their number."""
        room = self.hardware.memory * GIB - cost.states
        return max(0, int(room * self.batch_size / cost.peak)) if room > cost.step_peak else 0


def make_plan(config: DictConfig, hardware: Hardware) -> Plan:
    """The plan of the training that train.py would start with `config`. Reads no data and no weights.

    Raises:
        UserError: for what cannot be built or planned.
    """
    adopt(config)
    trainer = as_dict(config.trainer)
    check_batch_size(config.data.batch_size)
    for name in ("max_steps", "accumulate_grad_batches"):
        if not fits(trainer[name], Count):
            raise UserError(f"trainer.{name}={trainer[name]} must be {described(Count)}")
    stage = planned_stage(config)
    sharing = Sharing.of(trainer.get("strategy"), hardware.devices or _devices(trainer))
    network = config.stage.denoiser.network
    configured = bool(network.get("network", network).get("checkpointing", False))  # inside its additions
    has_blocks = checkpoint_blocks(stage.denoiser.network, configured)
    variants = [Variant(configured, step_cost(config, stage, sharing, config.data.batch_size))]
    if has_blocks:
        other = planned_stage(config)
        checkpoint_blocks(other.denoiser.network, not configured)
        variants.append(Variant(not configured, step_cost(config, other, sharing, config.data.batch_size)))
    return Plan(
        hardware=hardware,
        sharing=sharing,
        stage=config.stage.name,
        network=type(stage.denoiser.network).__name__,
        optimizer=str(config.stage.optimizer._target_).rpartition(".")[2],
        parameters=sum(parameter.numel() for parameter in stage.denoiser.parameters()),
        side=config.data.crop_size or stage.resolution,
        batch_size=config.data.batch_size,
        accumulate=trainer["accumulate_grad_batches"],
        max_steps=trainer["max_steps"],
        precision="bf16-mixed" if trainer["precision"] == "auto" else trainer["precision"],
        variants=variants,
    )


def _devices(trainer: Mapping[str, Any]) -> int:
    """Number of processes that the configuration of a trainer names."""
    given = trainer.get("devices")
    each = len(given) if isinstance(given, list) else given
    nodes = trainer.get("num_nodes", 1)
    return (each if isinstance(each, int) and each > 0 else 1) * (nodes if isinstance(nodes, int) else 1)
