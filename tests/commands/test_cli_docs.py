"""`grid docs`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.typed import Typist, make_typist


@pytest.fixture
def grid(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Typist:
    return make_typist(capsysbinary, monkeypatch, tmp_path / "home", tmp_path)


def test_chapters_are_listed(grid: Typist) -> None:
    lines = grid("docs").out.splitlines()
    assert lines[0] == "guide"
    assert {"  Sweeps", "  Artifacts", "engines", "  Ray", "architecture", "  Layers"} <= set(lines)
    listed = grid("docs", "-o", "json").json
    assert {"page": "guide", "chapter": "Sweeps"} in listed["chapters"]
    assert (Path(listed["folder"]) / "guide.md").is_file()


@pytest.mark.parametrize("words", [("sweeps",), ("Sweeps",), ("sweep",)])
def test_one_chapter_is_shown_whole(grid: Typist, words: tuple[str, ...]) -> None:
    shown = grid("docs", *words).out
    assert shown.startswith("# Sweeps\n")
    assert "random_search" in shown
    assert "## " not in shown


def test_a_chapter_for_users_comes_before_how_it_is_built(grid: Typist) -> None:
    assert grid("docs", "secrets").out.startswith("# Variables and secrets\n")
    assert grid("docs", "clusters").out.startswith("# Clusters and engines\n")


def test_a_comment_in_an_example_is_no_chapter(grid: Typist) -> None:
    shown = grid("docs", "from", "python").out
    assert "# starts nothing" in shown
    assert shown.rstrip().endswith("with a message and a hint.")


def test_a_page_is_shown_whole(grid: Typist) -> None:
    shown = grid("docs", "guide").out
    assert "# Sweeps" in shown
    assert "# Artifacts" in shown


def test_the_nearest_chapter_is_offered(grid: Typist) -> None:
    refused = grid("docs", "artefacts")
    assert (refused.code, "grid docs artifacts" in refused.err) == (2, True)
