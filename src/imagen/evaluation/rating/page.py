"""The page for raters, and its key, which raters do not get."""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from PIL import Image

from imagen.evaluation.rating.items import Exhibits, Item

FORMAT = 1


def make_page(shown: Exhibits, items: Sequence[Item]) -> tuple[str, dict[str, Any]]:
    """The page as HTML, and its key.

    The page holds pictures, captions and questions in the order of `items`, and nothing about the sources of pictures.
    Its data is identified by its sha256, which the page computes again in the browser and writes into the answers. The
    key holds the sources.
    """
    data = json.dumps(_page_data(shown, items), ensure_ascii=False, separators=(",", ":"))
    data = data.replace("<", "\\u003c")  # a caption cannot end the script element
    digest = hashlib.sha256(data.encode()).hexdigest()
    template = files("imagen.evaluation.rating").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace("{{data}}", data), {"format": FORMAT, "page": digest, "items": [_key(i) for i in items]}


def _page_data(shown: Exhibits, items: Sequence[Item]) -> dict[str, Any]:
    pictures: dict[str, int] = {}  # in order of use, which reveals nothing
    entries = []
    for item in items:
        sides = [
            [pictures.setdefault(_as_png(shown.pictures(source)[row].numpy()), len(pictures)) for row in item.rows]
            for source in item.sources
        ]
        entry = {"question": item.question.name, "sides": sides}
        entries.append(entry | ({"caption": item.caption} if item.question.shows_caption else {}))
    questions = {item.question.name: {"text": item.question.text, "choices": item.question.choices} for item in items}
    return {"format": FORMAT, "questions": questions, "items": entries, "pictures": list(pictures)}


def _as_png(picture: np.ndarray) -> str:
    """Base64 of a PNG file without metadata."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def _key(item: Item) -> dict[str, Any]:
    return {
        "question": item.question.name,
        "caption": item.caption,
        "category": item.category,
        "sources": list(item.sources),
        "expected": item.expected,
    }
