"""A whole page in one file that opens no connection."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

DATA = "explorer-data"
"""The id of the element with the data of the interactive plot."""


def document(title: str, parts: Sequence[str], data: Mapping[str, Any] | None = None) -> str:
    """A page made of pieces of HTML; empty pieces are left out. `data`: of the interactive plot (see `explorer`), whose
    scripts are put into the page if there is any.

    The browser runs these scripts alone, because the page's policy names their hashes, and opens no connection.
    """
    scripts = [plotly(), own("explorer.js")] if data is not None else []
    head = [
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">',
        f"<title>{escape(title)}</title>",
        f"<style>{own('page.css')}</style>",
    ]
    body = [part for part in parts if part]
    if data is not None:
        body.append(f'<script type="application/json" id="{DATA}">{as_data(data)}</script>')
    body += [f"<script>{script}</script>" for script in scripts]
    return "\n".join(
        ["<!doctype html>", '<html lang="en"><head>', *head, "</head>", "<body>", *body, "</body></html>", ""]
    )


def as_data(value: Any) -> str:
    """JSON that cannot end the script element it stands in. Only ASCII, so a lone surrogate can be written too."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@cache
def plotly() -> str:
    """The plotting library's script, changed only where its text could end the script element."""
    from plotly.offline import get_plotlyjs

    return _inside_script(get_plotlyjs())


def own(name: str) -> str:
    """A file of this package, as a part of the page."""
    return _inside_script(files("imagen.evaluation.report.page").joinpath(name).read_text(encoding="utf-8"))


def _inside_script(text: str) -> str:
    # A browser counts lines as \n before it computes the hash.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _policy(scripts: Sequence[str]) -> str:
    """Nothing from anywhere but pictures inside the page, and no script but these."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
