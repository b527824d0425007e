"""FSDP2 through Lightning, with the same checkpoints as on one process."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.optim import Optimizer

from imagen.stages.sharding.shard import gathered, piece_like


class ShardedStrategy(ModelParallelStrategy):
    """Fully sharded data parallelism: `DiffusionStage.configure_model` shares out weights and average, and so gradients
    and optimizer state.

    A checkpoint is one file of whole tensors, written by the first process through the trainer's `CheckpointIO`, and
    equal to that of one process. So a run may go on under another strategy or with another number of processes. Every
    process reads the file and keeps its pieces.
    """

    def __init__(self) -> None:
        super().__init__(data_parallel_size="auto", tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def load_checkpoint(self, checkpoint_path: _PATH, weights_only: bool | None = None) -> dict[str, Any]:
        return self.checkpoint_io.load_checkpoint(Path(checkpoint_path))

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        assert self.model is not None
        options = StateDictOptions(full_state_dict=True, strict=strict)
        set_model_state_dict(self.model, checkpoint["state_dict"], options=options)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Whole, with the numbers of the weights as on one process; empty except in the first process."""
        inner = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        state = gathered(inner.state_dict(), keep=self.is_global_zero)
        return state if self.is_global_zero else {}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            pieces = {
                number: {
                    name: piece_like(value, weights[number]) if hasattr(value, "ndim") else value
                    for name, value in of_weight.items()
                }
                for number, of_weight in state["state"].items()
            }
            optimizer.load_state_dict(state | {"state": pieces})
