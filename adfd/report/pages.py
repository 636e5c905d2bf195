"""Self-contained HTML pages: one file with pictures, figures and scripts, which opens without a server."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from PIL import Image

from adfd.basics.files import atomic

SCRIPTS = "'the page''s scripts'"
"""Placeholder in a page's Content-Security-Policy for the hashes of its scripts; browsers run no other scripts."""


def _source(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("adfd.report"),
        autoescape=select_autoescape(["html", "j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(path: Path, template: str, **values: Any) -> None:
    """Render `adfd/report/templates/<template>` with `values` and write it to `path` atomically.

    The page's Content-Security-Policy permits only its own scripts, by their hashes.
    """
    text = _templates().get_template(template).render(**values)
    text = text.replace(SCRIPTS, " ".join(map(_source, re.findall(r"<script>(.*?)</script>", text, re.DOTALL))), 1)
    with atomic(path) as stream:
        stream.write(text.encode())


def picture(image: Image.Image | Path, size: int = 256, quality: int = 85) -> str:
    """A picture as a data URI: JPEG, resized so that its longer side is at most `size` px."""
    if isinstance(image, Path):
        with Image.open(image) as file:
            return picture(file.convert("RGB"), size, quality)
    small = image.convert("RGB")
    small.thumbnail((size, size), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=quality)
    return data_uri(stream.getvalue(), "image/jpeg")


def data_uri(data: bytes, kind: str) -> str:
    """Bytes of a media type as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def inline(svg: str) -> Markup:
    """A figure's SVG as part of a page."""
    return Markup(svg[svg.index("<svg") :])
