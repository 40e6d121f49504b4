"""services.previews: what a page may show is decided by content, and never runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from opengrid.services.previews import MOST_IMAGE, MOST_TEXT, preview

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


@pytest.mark.parametrize(
    ("name", "content", "kind", "media_type"),
    [
        ("notes.txt", b"hello", "text", None),
        ("config.YAML", b"lr: 0.1", "yaml", None),
        ("metrics.jsonl", b"{}", "json", None),
        ("table.csv", b"a,b", "table", None),
        ("empty", b"", "text", None),
        ("plot.png", PNG, "image", "image/png"),
        ("no-ending", PNG, "image", "image/png"),
        ("photo.txt", b"\xff\xd8\xff\xe0", "image", "image/jpeg"),
        ("anim", b"GIF89a..", "image", "image/gif"),
        ("w", b"RIFF\0\0\0\0WEBPVP8 ", "image", "image/webp"),
        ("vector.svg", b"<svg onload='alert(1)'/>", "text", None),
        ("page.html", b"<script>alert(1)</script>", "text", None),
        ("fake.png", b"<script>alert(1)</script>", "text", None),
        ("model.ckpt", b"PK\x03\x04\xff\xfe", "none", None),
        ("nul.txt", b"a\0b", "none", None),
    ],
)
def test_kinds_are_told_by_content(
    tmp_path: Path, name: str, content: bytes, kind: str, media_type: str | None
) -> None:
    (tmp_path / "content").write_bytes(content)
    seen = preview(tmp_path / "content", name)
    assert (seen.kind, seen.media_type) == (kind, media_type)
    assert (seen.text is not None) == (kind in ("text", "yaml", "json", "table"))
    assert bool(seen.reason) == (kind == "none")


def test_a_long_text_ends_with_a_whole_line_though_characters_are_cut(tmp_path: Path) -> None:
    line = "ä" * 99 + "\n"
    (tmp_path / "content").write_text(line * (MOST_TEXT // 100))
    seen = preview(tmp_path / "content", "long.txt")
    assert seen.truncated
    assert seen.text is not None
    assert seen.text == line * (len(seen.text) // 100)


def test_an_image_that_is_too_large_is_not_shown(tmp_path: Path) -> None:
    with (tmp_path / "content").open("wb") as file:
        file.write(PNG)
        file.truncate(MOST_IMAGE + 1)
    assert preview(tmp_path / "content", "x.png").kind == "none"
