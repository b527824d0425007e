"""The device that a model runs on, and the precision that is fast there."""

import torch
from torch import Tensor

from imagen.errors import UserError


def choose_device(name: str, key: str = "device") -> torch.device:
    """The device called `name`: cpu, cuda, or auto, which is the GPU where there is one.

    Raises:
        UserError: for another name, and for cuda on a machine without a GPU; `key` is what the user calls the setting.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"{key}={name}: this machine has no GPU; use {key}=cpu")
    if name not in ("cpu", "cuda"):
        raise UserError(f"{key}={name}: choose auto, cpu or cuda")
    return torch.device(name)


def moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    """`tensor` on `device`. Neither side waits: a copy to a GPU goes through pinned memory, behind what the GPU has to
    do before. (A plain copy makes this process wait until the GPU has done all of that.) torch keeps the pinned memory
    until the copy is made.
    """
    if torch.device(device).type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def has_fast_bfloat16(device_type: str) -> bool:
    """Whether the hardware computes in bfloat16. `device_type` is cpu or cuda; any other gives False."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device_type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def uses_autocast(precision: str, device: torch.device, key: str = "precision") -> bool:
    """Whether networks run in bfloat16 on `device`. `precision` is 32-true, bf16-mixed, or auto: bf16-mixed where the
    hardware has it.

    Raises:
        UserError: for another precision; `key` is what the user calls the setting.
    """
    if precision not in ("auto", "32-true", "bf16-mixed"):
        raise UserError(f"{key}={precision}: choose auto, 32-true or bf16-mixed")
    return precision == "bf16-mixed" or (precision == "auto" and has_fast_bfloat16(device.type))
