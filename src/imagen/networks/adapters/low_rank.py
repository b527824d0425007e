"""LoRA (Hu et al. 2021): trained low-rank additions to some of the linear layers of a network, which stay frozen."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from imagen.diffusion.conditioning import Conditioning
from imagen.errors import UserError
from imagen.tensors import Images, PerImage

WEIGHT, BASE = ".lora_", ".base_layer."
"""In the name of a tensor: of the additions, and of the layer that they are added to."""

NAMED = ".default."
"""peft's name of the one adapter, in the names of its tensors."""


class LowRank(nn.Module):
    """A network, and B A x · alpha / rank added to what each layer in `targets` makes of x. B begins as zeros.

    Args:
        network: whose weights are frozen.
        rank: rows of A and columns of B.
        alpha: scale of the additions.
        targets: ends of the names of the layers, such as to_q.

    Raises:
        UserError: without peft, for numbers out of range, and if the network has no such layers.
    """

    def __init__(self, network: nn.Module, rank: int, alpha: int, targets: Sequence[str]) -> None:
        super().__init__()
        if rank < 1 or alpha <= 0 or isinstance(targets, str) or not targets:
            raise UserError(
                f"lora: rank={rank} and alpha={alpha} must be above 0, targets={targets!r:.80} a list of names"
            )
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError:
            raise UserError("lora needs the package peft: pip install -e '.[deepfloyd]'") from None
        known = {name.rpartition(".")[2] for name, _ in network.named_modules()}
        network.requires_grad_(False)
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets))
        try:
            self.network: Any = inject_adapter_in_model(config, network)
        except ValueError as error:
            raise UserError(
                f"lora.targets={list(targets)}: the network has no such layers ({error.args[0]:.100}); its parts are "
                f"{', '.join(sorted(known - {''}))[:200]}"
            ) from None

    def forward(self, z: Images, log_snr: PerImage, conditioning: Conditioning) -> Images:
        """As the network's own."""
        return self.network(z, log_snr, conditioning)


def is_addition(name: str) -> bool:
    """Whether the tensor of that name is one of the additions."""
    return WEIGHT in name


def name_without(name: str) -> str:
    """What a denoiser without additions calls the tensor that is called `name` in one with them."""
    return name.replace("network.network.", "network.", 1).replace(BASE, ".")
