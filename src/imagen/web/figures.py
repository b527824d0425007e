"""Pictures with labels as HTML: those that are made, and those that form, in one place that does not flicker."""

import base64
import html
from io import BytesIO
from itertools import zip_longest

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from imagen.web.history import Made
from imagen.web.order import number
from imagen.web.studio import Forming, News

FILE_ROUTE = "gradio_api/file="
"""Where Gradio serves files of the allowed folders, relative to the page."""

LARGEST_PREVIEW = 256
"""Side in pixels; what forms is sent several times a second."""

STYLE = """
.figures {display: grid; gap: 12px; margin-bottom: 18px; justify-items: center;
  grid-template-columns: repeat(auto-fill, minmax(130px, 1fr));}
.figures.few {grid-template-columns: repeat(auto-fit, minmax(min(100%, 220px), 1fr));}
@media (min-width: 801px) {.figures.columns {grid-template-columns: repeat(var(--columns), minmax(0, 1fr));}}
.figures figure {margin: 0; width: 100%; max-width: 512px;}
.figures img {width: 100%; image-rendering: pixelated; border-radius: 4px;
  background: #8882; display: block;}
.figures figcaption {font-size: 0.85em; line-height: 1.3; padding-top: 4px; overflow-wrap: anywhere;}
.figures figcaption b {font-weight: 600;}
.figures .forming img {outline: 2px dashed var(--primary-500);}
.blank {display: grid; place-items: center; min-height: 280px; text-align: center; opacity: 0.7;
  border: 1px dashed var(--border-color-primary); border-radius: 8px; padding: 16px;}
"""

BLANK = '<div class="blank">Write a prompt and click “Make pictures”. They form here.</div>'


def blank(text: str) -> str:
    """A place for pictures that holds a line of text."""
    return f'<div class="blank">{html.escape(text)}</div>'


def shown(news: News) -> str:
    """The pictures of each order; where there are several orders, a row for each picture with one column an order."""
    if not news:
        return blank("loading the cascade …")
    columns = [_figures(one, with_weight=len(news) > 1) for one in news]
    if len(columns) == 1:
        return f'<div class="figures{" few" if len(columns[0]) <= 2 else ""}">{"".join(columns[0])}</div>'
    return "".join(
        f'<div class="figures columns" style="--columns: {len(row)}">{"".join(row)}</div>'
        for row in zip_longest(*columns, fillvalue="<figure></figure>")
    )


def _figures(one: Made | Forming, with_weight: bool) -> list[str]:
    if isinstance(one, Forming):
        base, prompts, count = one.order.base.weight, list(one.order.prompts), one.order.count
        sources = [_inline(picture) for picture in one.pictures]
        note, kind = f"{one.stage}, evaluation {one.evaluation}", ' class="forming"'
    else:
        base, prompts, count = one.weight, list(one.order["prompts"]), int(one.order["count"])
        sources = [FILE_ROUTE + path.as_uri().removeprefix("file://") for path in one.paths]
        note, kind = f"seed {one.order['seed']}", ""
    captions = []
    for i, source in enumerate(sources):
        prompt = prompts[i // count] if prompts else ""
        label = f"w = {number(base)}" if with_weight else f"picture {i}"
        text = f"<b>{label}</b> · {html.escape(note)}<br>{html.escape(prompt)}"
        alt = html.escape(f"{prompt} ({label})", quote=True)
        captions.append(f'<figure{kind}><img src="{source}" alt="{alt}"><figcaption>{text}</figcaption></figure>')
    return [figure.replace("{", "&#123;").replace("$", "&#36;") for figure in captions]  # signs of Gradio's templates


def _inline(picture: UInt8[np.ndarray, "_ _ 3"]) -> str:
    """The picture itself as an address, so that no file is written for what is looked at for a moment."""
    image, stream = Image.fromarray(picture), BytesIO()
    if max(image.size) > LARGEST_PREVIEW:
        image.thumbnail((LARGEST_PREVIEW, LARGEST_PREVIEW))
    image.save(stream, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
