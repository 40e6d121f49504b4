"""Which lines of which generations are shown, and what stands between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from opengrid.services.log_files import LogFiles
from opengrid.services.log_view import LogPrinter, LogStyle, read_lines


@pytest.fixture
def files(tmp_path: Path) -> LogFiles:
    """Two generations of two ranks; the first was killed in the middle of a line."""
    files = LogFiles(tmp_path)

    def write(generation: int, rank: int, data: bytes, *times: tuple[int, int]) -> None:
        index = ",".join(f"{offset}:{ns}" for offset, ns in times)
        files.append("a", generation, rank, "stdout", offset=0, data=data, index=index)

    write(1, 0, b"a0\nb0\ncut", (0, 10), (3, 30))
    write(1, 1, b"a1\n", (0, 20))
    write(2, 0, b"c0\n", (0, 25))  # by a clock that was set back
    write(2, 1, b"c1\n", (0, 40))
    return files


def shown(files: LogFiles, *, tail: int | None = None, generation: int | None = None, headings: bool = False) -> bytes:
    printer = LogPrinter(LogStyle(prefix=False, headings=headings))
    lines = read_lines(files.streams("a", generation), tail=tail, final=True)
    return b"|".join(printer.render(line).strip(b"\n") for line in lines)


def test_all_generations_come_one_after_the_other_each_in_the_order_of_its_times(files: LogFiles) -> None:
    assert shown(files) == b"a0|a1|b0|cut|c0|c1"
    assert shown(files, generation=1) == b"a0|a1|b0|cut"


@pytest.mark.parametrize(
    ("tail", "expected"),
    [(0, b""), (1, b"c1"), (2, b"c0|c1"), (4, b"b0|cut|c0|c1"), (99, b"a0|a1|b0|cut|c0|c1")],
)
def test_the_last_lines_reach_back_into_earlier_generations(files: LogFiles, tail: int, expected: bytes) -> None:
    assert shown(files, tail=tail) == expected


def test_a_heading_stands_where_another_generation_begins(files: LogFiles) -> None:
    assert shown(files, headings=True) == b"a0|a1|b0|cut|--- generation 2\nc0|c1"
    assert shown(files, headings=True, generation=2) == b"c0|c1"
