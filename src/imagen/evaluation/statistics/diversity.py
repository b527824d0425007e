"""How different pictures of one prompt are."""

from jaxtyping import Float64
from torch import Tensor

from imagen.tensors import Features


def variance_within(features: Features, repeats: int) -> Float64[Tensor, "batch"]:
    """The squared distance of each picture from the mean of its prompt, times n / (n - 1) for n pictures of a prompt.

    Its mean is the unbiased variance among pictures of one prompt, summed over the features.

    Args:
        features: of all prompts, and then of all prompts again, `repeats` times (`PromptSet.repeated`).
        repeats: at least 2.
    """
    by_prompt = features.double().unflatten(0, (repeats, -1))
    away = by_prompt - by_prompt.mean(dim=0)
    return (away.square().sum(dim=-1) * (repeats / (repeats - 1))).flatten()
