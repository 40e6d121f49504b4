"""client.env_file: variables a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from opengrid.client.env_file import read_variables, variables_of_files
from opengrid.core.errors import InvalidValue


def test_lines_are_read_as_a_shell_would_read_assignments() -> None:
    text = "# no\nA=1\nexport B = two words # said\nC='x # y'\nD=\"a=b\" # no\n\nE=\nF=a#b\n"

    assert read_variables(text, "f") == {"A": "1", "B": "two words", "C": "x # y", "D": "a=b", "E": "", "F": "a#b"}


def test_later_files_win(tmp_path: Path) -> None:
    for name, text in (("a", "X=1\nY=1"), ("b", "X=2")):
        (tmp_path / name).write_text(text)

    assert variables_of_files([str(tmp_path / "a"), str(tmp_path / "b")]) == {"X": "2", "Y": "1"}


@pytest.mark.parametrize("line", ["hunter2", "1A=hunter2", "A='hunter2", "A='hunter2' x"])
def test_a_line_that_is_no_assignment_is_named_but_not_shown(line: str) -> None:
    with pytest.raises(InvalidValue, match="f, line 2") as error:
        read_variables(f"A=1\n{line}\n", "f")

    assert "hunter2" not in error.value.message


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidValue, match="absent: No such file"):
        variables_of_files(["absent"])
