"""What a plain folder leaves out of what is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from opengrid.client.tree import read_tree
from opengrid.core.errors import InvalidValue
from opengrid.sdk.ignoring import ignored_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train.py", "big.log", "keep.log", "data/a.bin", "sub/data/b.bin", "build/x.o", ".git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def sent(folder: Path) -> set[str]:
    tree = read_tree(folder, folder / "train.py", localdir=True, ignored=ignored_in)
    return {path for path in (file.path for file in tree.files) if (folder / path).is_file()}


EVERYTHING = {"train.py", "big.log", "keep.log", "data/a.bin", "sub/data/b.bin", "build/x.o"}


@pytest.mark.parametrize(
    ("files", "left_out"),
    [
        ({}, set()),
        ({".gitignore": "*.log\n!keep.log\n# a comment\n\n/data/"}, {"big.log", "data/a.bin"}),
        ({".gitignore": "data"}, {"data/a.bin", "sub/data/b.bin"}),
        ({".dockerignore": "data"}, {"data/a.bin"}),
        ({".dockerignore": "**/data\n!/keep.log"}, {"data/a.bin", "sub/data/b.bin"}),
        ({".gitignore": "*.log", ".dockerignore": "build"}, {"big.log", "keep.log", "build/x.o"}),
        ({".gridignore": "build/", ".gitignore": "*.log"}, {"build/x.o"}),
        ({".gridignore": "\r\n*.log \r\n"}, {"big.log", "keep.log"}),
    ],
)
def test_the_own_file_counts_alone_and_otherwise_those_of_git_and_docker(
    folder: Path, files: dict[str, str], left_out: set[str]
) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
    assert sent(folder) == EVERYTHING - left_out | set(files)


def test_a_script_that_is_left_out_is_refused_with_the_file_that_may_say_so(folder: Path) -> None:
    (folder / ".gridignore").write_text("*.py")
    with pytest.raises(InvalidValue) as refused:
        sent(folder)
    assert ".gridignore" in (refused.value.hint or "")


@pytest.mark.parametrize("pattern", ["!", "[z-a]"])
def test_a_pattern_that_is_none_is_named_with_its_line(folder: Path, pattern: str) -> None:
    (folder / ".gridignore").write_text(f"*.log\n{pattern}\n")
    with pytest.raises(InvalidValue) as refused:
        sent(folder)
    assert f".gridignore, line 2: {pattern!r} is no pattern" in refused.value.message
