"""One optimizer step of a stage with tensors that have shapes and no numbers, and what it takes."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from imagen.data.batch import Batch
from imagen.diffusion.unclip.vectors import VectorSignal
from imagen.errors import UserError
from imagen.instantiation import as_dict, instantiate
from imagen.networks.blocks import Block
from imagen.networks.deepfloyd.unet import DeepFloydUNet
from imagen.networks.multi_head import attention_as_on_a_gpu
from imagen.planning.ledger import Ledger
from imagen.planning.sharing import Sharing
from imagen.stages.conditioners import CHANNELS
from imagen.stages.diffusion_stage import DiffusionStage
from imagen.stages.distillation.student import StudentStage
from imagen.stages.unclip.clip import FrozenClip
from imagen.tensors import Images

AUTOCAST = {"32-true": None, "16-mixed": torch.float16, "bf16-mixed": torch.bfloat16, "auto": torch.bfloat16}
"""What networks compute in, by `trainer.precision`; `auto` as on a GPU that has bfloat16."""


@dataclass(frozen=True)
class StepCost:
    """What one process of a training holds and does; memory in bytes.

    Attributes:
        weights: of the network, with the buffers of the stage.
        gradients: of the weights; with DDP, its buckets too.
        optimizer: its state.
        average: of the weights that are trained.
        gathered: weights that are whole while a block of a sharded network is at work.
        kept: what the forward pass of a batch leaves for the backward pass, the batch included.
        peak: the most that forward and backward pass have beside all these at once.
        step_peak: the same for the step of the optimizer.
        flops: floating-point operations of both passes over one batch.
        step_flops: those of the optimizer.
    """

    weights: int
    gradients: int
    optimizer: int
    average: int
    gathered: int
    kept: int
    peak: int
    step_peak: int
    flops: int
    step_flops: int

    @property
    def states(self) -> int:
        """What a process holds whatever its batch."""
        return self.weights + self.gradients + self.optimizer + self.average + self.gathered

    @property
    def total(self) -> int:
        """The most that a process has at once."""
        return self.states + max(self.peak, self.step_peak)


def planned_stage(config: DictConfig) -> DiffusionStage:
    """The stage of `config` on the meta device.

    Raises:
        UserError: for what cannot be built, and for a student, whose teacher would have to be there.
    """
    if str(config.stage._target_).endswith(f".{StudentStage.__name__}"):
        raise UserError("stage: a student is taught by weights that a plan does not read; plan its teacher's stage")
    parts = {name: instantiate(config.stage[name]) for name in ("schedule", "conditioner")}  # these compute numbers
    others = {name: node for name, node in as_dict(config.stage).items() if name not in parts}
    with torch.device("meta"):
        stage: DiffusionStage = instantiate(others | {"_partial_": True})(**parts)
    inner: Any = stage.conditioner
    while inner is not None:
        if isinstance(getattr(inner, "clip", None), FrozenClip):
            inner.clip = _ShapesOfClip(inner.clip)
        inner = getattr(inner, "others", None)
    return stage.train()


def step_cost(config: DictConfig, stage: DiffusionStage, sharing: Sharing, pictures: int) -> StepCost:
    """One optimizer step of a batch of `pictures` in every process, without accumulation.

    `stage` is a new one of `planned_stage`: its weights get shapes that can be computed with. They are on no GPU, so
    the result knows no workspaces of its libraries and no gaps between its blocks of memory.

    Raises:
        UserError: for a precision that a plan does not know.
    """
    if (precision := str(config.trainer.precision)) not in AUTOCAST:
        raise UserError(f"trainer.precision={precision}: a plan knows {', '.join(AUTOCAST)}")
    dtype, network = AUTOCAST[precision], stage.denoiser.network
    with FakeTensorMode(), Ledger() as ledger, attention_as_on_a_gpu(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a stage without a Trainer cannot log
        _give_shapes(stage)
        optimizer = stage.configure_optimizers()["optimizer"]
        assert isinstance(optimizer, torch.optim.Optimizer)
        parameters = list(stage.denoiser.parameters())
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        gradients = [torch.zeros_like(parameter) for parameter in trained]
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient  # as after the first batch of several
        before = ledger.live
        batch = planned_batch(config, stage, pictures)
        with torch.autocast("cpu", dtype, enabled=dtype is not None, cache_enabled=False):  # Lightning's, too
            loss = stage.training_step(batch, 0)
        kept = ledger.live - before
        loss.backward()
        del loss
        stage.guard.forget()
        peak, flops = ledger.peak - before, ledger.flops
        before = ledger.live
        ledger.forget_peak()
        optimizer.step()
        state = list(_tensors(optimizer.state))
        work = ledger.peak - before - _bytes(state)
        return StepCost(
            weights=sharing.held([*parameters, *stage.bands.buffers()]),
            gradients=sharing.held(gradients) * (2 if sharing.bucketed else 1),
            optimizer=sharing.held(state),
            average=sharing.held(parameters if sharing.sharded else trained),  # frozen weights are shared with it
            gathered=sharing.gathered(network),
            kept=kept,
            peak=peak,
            step_peak=work // (sharing.devices if sharing.sharded else 1),
            flops=flops,
            step_flops=ledger.flops - flops,
        )


def planned_batch(config: DictConfig, stage: DiffusionStage, pictures: int) -> Batch:
    """A batch of the largest captions that the text encoder gives; of squares, also where buckets are asked for."""
    side = config.data.crop_size or stage.resolution
    tokens = OmegaConf.select(config, "text.encoder.max_length", default=1)
    images = torch.zeros(pictures, CHANNELS, side, side)
    text, mask = torch.zeros(pictures, tokens, config.text.features), torch.ones(pictures, tokens, dtype=torch.bool)
    ids = torch.zeros(pictures, dtype=torch.int64)
    return Batch(images, text, mask, ids, ("",) * pictures, 0, images, images)


def checkpoint_blocks(network: nn.Module, on: bool) -> bool:
    """Switch the recomputation of all blocks of `network` on or off; False if it has no blocks to recompute."""
    blocks = [block for block in network.modules() if isinstance(block, Block)]
    for block in blocks:
        block.checkpointing = on
    published = [part for part in network.modules() if isinstance(part, DeepFloydUNet)]
    for part in published:
        part.recompute(on)
    return bool(blocks or published)


class _ShapesOfClip:
    """Vectors of the right shape in the place of those of a CLIP, whose own work and weights are not counted."""

    def __init__(self, clip: FrozenClip) -> None:
        self.features = clip.features

    def pictures(self, images: Images) -> VectorSignal:
        return VectorSignal.of(torch.zeros(len(images), self.features))

    def captions(self, captions: Sequence[str], device: torch.device | str = "cpu") -> VectorSignal:
        return VectorSignal.of(torch.zeros(len(captions), self.features))


def _give_shapes(stage: DiffusionStage) -> None:
    """Put tensors of the FakeTensorMode that is on in the place of those on the meta device, strides included."""
    for owner in stage.modules():
        for name, parameter in owner.named_parameters(recurse=False):
            owner.register_parameter(name, nn.Parameter(_like(parameter), parameter.requires_grad))
        for name, buffer in owner.named_buffers(recurse=False):
            setattr(owner, name, _like(buffer))


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")


def _tensors(state: Any) -> Iterable[Tensor]:
    """The tensors in the state of an optimizer."""
    return (value for of_one in state.values() for value in of_one.values() if isinstance(value, Tensor))


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
