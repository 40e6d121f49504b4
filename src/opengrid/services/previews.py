"""What a page may show of a file that a script wrote: judged by its content; its name tells kinds of text apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from opengrid.services.documents.document import Document

#: So much of a text is shown, and images up to this size.
MOST_TEXT, MOST_IMAGE = 256 << 10, 20 << 20

_TEXTS = {
    "yaml": (".yaml", ".yml"),
    "json": (".json", ".jsonl"),
    "table": (".csv", ".tsv"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview(Document):
    """A file as a page may show it."""

    kind: str  #: text | yaml | json | table | image | none
    text: str | None = None
    truncated: bool = False  #: there is more of the text
    media_type: str | None = None  #: of an image
    reason: str = ""  #: why nothing is shown


def preview(file: Path, name: str) -> Preview:
    """Return what may be shown of a file. Images are those of four formats that hold no program."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        head = opened.read(MOST_TEXT)
    media_type = image_type(head)
    if media_type is not None:
        if size > MOST_IMAGE:
            return Preview(kind="none", reason=f"the image has {size >> 20} MiB: download it")
        return Preview(kind="image", media_type=media_type)
    truncated = size > len(head)
    try:
        # A character may be cut in two where the text is.
        text = (head[: head.rfind(b"\n") + 1] or head if truncated else head).decode()
    except UnicodeDecodeError:
        return Preview(kind="none", reason="a binary file: download it")
    if "\0" in text:
        return Preview(kind="none", reason="a binary file: download it")
    lower = name.lower()
    kind = next((kind for kind, endings in _TEXTS.items() if lower.endswith(endings)), "text")
    return Preview(kind=kind, text=text, truncated=truncated)


def image_type(head: bytes) -> str | None:
    """Return the media type of an image that begins so; None for anything else, SVG included: it may hold scripts."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None
