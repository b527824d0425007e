"""Captions cleaned as DeepFloyd IF's training captions were."""

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

from imagen.errors import UserError

PACKAGES = {"diffusers": "diffusers", "ftfy": "ftfy", "bs4": "beautifulsoup4"}
"""By module: without the last two, diffusers would clean nothing."""


def cleaned(caption: str) -> str:
    """`caption` without addresses, HTML, file names, CJK signs and the like, in lower case: IF's own cleaning, twice.

    diffusers has the rules, as a method of its pipelines that reads one attribute of them.

    Raises:
        UserError: if diffusers, ftfy or beautifulsoup4 is missing.
    """
    if missing := [name for module, name in PACKAGES.items() if find_spec(module) is None]:
        raise UserError(f"text.encoder.cleaning=true needs {', '.join(missing)}: pip install -e '.[deepfloyd]'")
    from diffusers.pipelines.deepfloyd_if.pipeline_if import IFPipeline

    rules: Any = SimpleNamespace(bad_punct_regex=IFPipeline.bad_punct_regex)
    for _ in range(2):
        caption = IFPipeline._clean_caption(rules, caption)
    return caption
