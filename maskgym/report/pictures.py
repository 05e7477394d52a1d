"""The pictures of a report: charts drawn here, and files that runs left, inside the page and beside it."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from maskgym.report.charts import in_the_dark

_WIDEST = 520  # pixels of an example picture
_LARGEST = 40_000_000  # pixels of one that is read at all


@dataclass(frozen=True)
class Picture:
    """A chart, or the file of a picture."""

    name: str
    """Of its file beside the Markdown."""
    alt: str
    source: Callable[[], bytes] | Path

    @property
    def is_chart(self) -> bool:
        """Whether it is drawn here."""
        return not isinstance(self.source, Path)

    @property
    def file(self) -> str:
        """Its name in the folder of pictures."""
        return self.name + (".svg" if self.is_chart else ".jpg")

    @property
    def is_there(self) -> bool:
        """Whether there is anything to show."""
        return self.is_chart or bool(self.content)

    @cached_property
    def content(self) -> bytes:
        """What there is to show: an SVG, or a JPEG; nothing where the file is damaged."""
        return as_jpeg(self.source) if isinstance(self.source, Path) else self.source()

    def inline(self, dark: bool = False) -> str:
        """Give the picture as an address that holds all of it, a chart perhaps for a dark page."""
        content = in_the_dark(self.content) if dark else self.content
        return f"data:image/{'svg+xml' if self.is_chart else 'jpeg'};base64,{base64.b64encode(content).decode()}"

    def alone(self) -> bytes:
        """Give what stands in a file; a chart has paper behind it, as whoever shows it may have a dark page."""
        if not self.is_chart:
            return self.content
        head, mark, rest = self.content.partition(b"<g ")
        return head + b'<rect width="100%" height="100%" fill="white"/>' + mark + rest


def as_jpeg(file: Path) -> bytes:
    """Read a picture at the size at which it is shown; nothing where it is damaged, or far too large to be one."""
    from PIL import Image

    out = io.BytesIO()
    try:
        with warnings.catch_warnings(), Image.open(file, formats=["PNG"]) as image:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if image.width * image.height > _LARGEST:
                return b""
            small = image.convert("RGB")
            small.thumbnail((_WIDEST, 10 * _WIDEST))
            small.save(out, "JPEG", quality=82, optimize=True)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return b""
    return out.getvalue()
