"""The U-Net of DeepFloyd IF, as a network of this project: diffusers' own class behind our contract."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from imagen.diffusion.conditioning import Conditioning, TextSignal
from imagen.diffusion.discrete.schedule import DiscreteSchedule
from imagen.errors import UserError
from imagen.tensors import Images, PerImage

KIND = "UNet2DConditionModel"


class DeepFloydUNet(nn.Module):
    """diffusers' UNet2DConditionModel, as DeepFloyd IF's stages configure it.

    It reads whole-numbered times, the vectors of a fixed number of tokens, none of them masked, and, of a smaller
    image, how noisy it is as a class label. Where the text has no tokens (`TextSignal.null`, an empty caption), it
    reads T5's vectors of the empty prompt, which travel with the weights.

    Args:
        config: of the U-Net, the content of `unet/config.json`.
        schedule: on whose times it was trained.
        text_tokens: number of vectors of each caption.
        text_features: width of one; None: as `config` says.
        augmentation: the noise of the smaller image; None: there is none.
        learned_variance: whether the second half of the output is the variance of an ancestral step. It says nothing
            any more once the noise alone was trained further, and is dropped then.
        checkpointing: recompute each block in the backward pass instead of keeping its activations.

    Raises:
        UserError: without diffusers, or if `config` is not that of such a network.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        schedule: DiscreteSchedule,
        text_tokens: int,
        text_features: int | None = None,
        augmentation: DiscreteSchedule | None = None,
        learned_variance: bool = True,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        unet = _unet(config)
        self.channels = int(unet.config.in_channels) // (1 if augmentation is None else 2)
        if unet.config.out_channels != 2 * self.channels:
            raise UserError(
                f"the U-Net makes {unet.config.out_channels} channels of {self.channels}: as many for the noise and as "
                "many for its variance are expected; give the unet of DeepFloyd IF"
            )
        if (unet.config.class_embed_type == "timestep") != (augmentation is not None):
            raise UserError(
                f"the U-Net has class_embed_type={unet.config.class_embed_type!r:.60}: "
                + ("a base stage has none" if augmentation is None else "the noise of the smaller image needs timestep")
            )
        unet.conv_out = TwoHeads(unet.conv_out, self.channels)
        self.unet = unet
        if checkpointing:
            self.recompute(True)
        self.schedule, self.augmentation = schedule, augmentation
        self.text_tokens, self.learned_variance = text_tokens, learned_variance
        width = text_features or int(unet.config.encoder_hid_dim or unet.config.cross_attention_dim)
        self.register_buffer("empty_prompt", torch.zeros(text_tokens, width))

    def recompute(self, on: bool) -> None:
        """Recompute blocks in the backward pass, or keep their activations."""
        (self.unet.enable_gradient_checkpointing if on else self.unet.disable_gradient_checkpointing)()

    def forward(self, z: Images, log_snr: PerImage, conditioning: Conditioning) -> Images:
        """The noise in `z` at `log_snr`, shape (batch,); same shape as `z`."""
        return self.with_variance(z, log_snr, conditioning)[0]

    def with_variance(self, z: Images, log_snr: PerImage, conditioning: Conditioning) -> tuple[Images, Images]:
        """The noise, and the variance of an ancestral step, of which -1 is the smallest and 1 the largest."""
        label, x = None, z
        if self.augmentation is not None:
            low_res = conditioning["low_res"]
            label = self.augmentation.index_of(low_res.level.log_snr)
            x = torch.cat([z, low_res.image], dim=1)
        vectors = self._vectors(conditioning["text"])
        t = self.schedule.index_of(log_snr)
        both = self.unet(x, t, encoder_hidden_states=vectors, class_labels=label, return_dict=False)[0]
        return both[:, : self.channels], both[:, self.channels :]

    def _vectors(self, text: TextSignal) -> Float[Tensor, "batch tokens features"]:
        """`text_tokens` vectors of each caption; those of the empty prompt where a caption has none. Captions come
        padded to some number of tokens, and those that the encoder gave are as many as the network reads."""
        missing = self.text_tokens - text.values.shape[1]
        values = F.pad(text.values, (0, 0, 0, max(missing, 0)))[:, : self.text_tokens]
        empty: Tensor = self.get_buffer("empty_prompt")
        return torch.where(text.mask.any(dim=1)[:, None, None], values, empty.to(values.dtype))


class TwoHeads(nn.Module):
    """The last convolution, as one for the noise and one for its variance, which training leaves alone.

    Computed in float32: at the noisiest times, 1/alpha enlarges the rounding of bfloat16 ten thousand times.

    Args:
        whole: the convolution of both, the noise first.
        channels: of the noise.
    """

    def __init__(self, whole: nn.Conv2d, channels: int) -> None:
        super().__init__()
        size = whole.kernel_size[0]
        self.noise = nn.Conv2d(whole.in_channels, channels, size, padding=size // 2)
        self.variance = nn.Conv2d(whole.in_channels, whole.out_channels - channels, size, padding=size // 2)
        self.variance.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_meta:  # autocast knows no such device
            return torch.cat([self.noise(x), self.variance(x)], dim=1)
        with torch.autocast(x.device.type, enabled=False):
            return torch.cat([self.noise(x.float()), self.variance(x.float())], dim=1)


def _unet(config: Mapping[str, Any]) -> Any:
    try:
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    except ImportError:
        raise UserError("DeepFloyd IF needs the package diffusers: pip install -e '.[deepfloyd]'") from None
    if (kind := config.get("_class_name", KIND)) != KIND:
        raise UserError(f"the U-Net is a {kind!r:.60}; {KIND} is read")
    if config.get("addition_embed_type") not in (None, "text"):
        raise UserError(f"addition_embed_type={config['addition_embed_type']!r:.60} of the U-Net: only text is read")
    try:
        return UNet2DConditionModel.from_config({name: value for name, value in config.items() if name[:1] != "_"})
    except Exception as error:  # no list foresees what a stranger's numbers lead to
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"the configuration of the U-Net makes no network ({reason:.200})") from error
