"""Windows into logs: wherever they are opened and whichever way they move, they show the merged log, nothing else."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from opengrid.core.errors import InvalidValue
from opengrid.services import log_search, log_window
from opengrid.services.log_files import LogFiles, LogStream
from opengrid.services.log_search import ERRORS, search
from opengrid.services.log_window import LogWindows, WindowLine, packed, unpacked
from opengrid.services.patterns import Pattern


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make blocks and pieces so small that a few lines cross all their borders."""
    monkeypatch.setattr(log_window, "_PIECE", 16)
    monkeypatch.setattr(log_window, "_BLOCK", 24)


def write(files: LogFiles, generation: int, rank: int, stream: str, parts: Sequence[tuple[int, bytes]]) -> None:
    """Append what was seen at these times."""
    offset = next((s.size() for s in files.streams("a-1", generation, rank) if s.stream == stream), 0)
    for ns, data in parts:
        files.append("a-1", generation, rank, stream, offset=offset, data=data, index=f"{offset}:{ns}")
        offset += len(data)


def some_log(folder: Path, seed: int) -> LogFiles:
    """Write two generations of three ranks with lines of all lengths, the last ones without an end."""
    chance, files = random.Random(seed), LogFiles(folder)
    for generation in (1, 2):
        for rank in range(3):
            for stream in ("stdout", "stderr"):
                now, parts = 1000 * generation, list[tuple[int, bytes]]()
                for number in range(chance.randrange(9)):
                    now += chance.randrange(3)
                    ending = b"\n" if chance.random() < 0.9 else b""
                    name = f"{generation}.{rank}.{stream[-3]}.{number}".encode()
                    parts.append((now, name + b"x" * chance.choice((0, 3, 15, 40, 90)) + ending))
                write(files, generation, rank, stream, parts)
    return files


def windows(files: LogFiles, *, is_final: bool = True) -> LogWindows:
    return LogWindows(files.streams("a-1"), is_final=is_final)


def texts(lines: Sequence[WindowLine]) -> list[bytes]:
    return [line.data for line in lines]


def forward(log: LogWindows, at: str, step: int) -> list[bytes]:
    """Go to the end, window by window."""
    found: list[bytes] = []
    while True:
        seen = log.window(at, before=0, after=step)
        found += texts(seen.lines)
        at = packed(seen.after)
        assert seen.at_end == (next(log.lines_after(seen.after), None) is None)
        if seen.at_end:
            return found
        assert seen.lines


def backward(log: LogWindows, at: str, step: int) -> list[bytes]:
    found: list[bytes] = []
    while True:
        seen = log.window(at, before=step, after=0)
        found = texts(seen.lines) + found
        at = packed(seen.before)
        if seen.at_start:
            return found
        assert seen.lines


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(4))
def test_all_ways_through_a_log_show_the_same_lines(tmp_path: Path, seed: int) -> None:
    files = some_log(tmp_path, seed)
    log = windows(files)
    whole = forward(log, "start", 1000)
    streams = files.streams("a-1")
    assert sum(map(len, whole)) == sum(stream.size() for stream in streams)
    for stream in streams:
        of_stream = b"".join(x.data for x in log.lines_after(log.place("start")) if x.stream == stream)
        assert of_stream == stream.path.read_bytes()
    assert all(len(text) <= 2 * 16 for text in whole)
    for step in (1, 3):
        assert forward(log, "start", step) == whole
        assert backward(log, "end", step) == whole
    lines = list(log.lines_after(log.place("start")))
    assert [line.at_ns for line in lines] == sorted(line.at_ns for line in lines)
    for number, line in enumerate(lines):
        assert forward(log, line.cursor, 1000) == whole[number:]
        assert backward(log, line.cursor, 1000) == whole[:number]
        assert forward(log, line.after, 1000) == whole[number + 1 :]
        around = log.window(line.cursor, before=2, after=2)
        assert texts(around.lines) == whole[max(0, number - 2) : number + 2]
    for fraction in ("0", "0.3", "0.7", "1"):
        assert backward(log, fraction, 1000) + forward(log, fraction, 1000) == whole


@pytest.mark.usefixtures("small")
def test_what_is_still_being_written_comes_when_it_has_an_end(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    write(files, 1, 0, "stdout", [(1, b"one\ntwo")])
    seen = windows(files, is_final=False).window("end", before=5, after=5)
    assert (texts(seen.lines), seen.at_end) == ([b"one\n"], True)
    write(files, 1, 0, "stdout", [(2, b" and more\nthree")])
    write(files, 1, 1, "stderr", [(1, b"late\n")])
    seen = windows(files, is_final=False).window(packed(seen.after), before=0, after=5)
    assert sorted(texts(seen.lines)) == [b"late\n", b"two and more\n"], "what comes late is not missed"
    seen = windows(files, is_final=True).window(packed(seen.after), before=0, after=5)
    assert texts(seen.lines) == [b"three"]


@pytest.mark.parametrize("at", ["", "nowhere", "1.5", "-0.1", "nan", "~", "~x", "~AAAA", "1.0.0", "9.9.1.0", "1.0.7.0"])
def test_what_is_no_place_is_refused(tmp_path: Path, at: str) -> None:
    files = LogFiles(tmp_path)
    write(files, 1, 0, "stdout", [(1, b"one\n")])
    with pytest.raises(InvalidValue):
        windows(files).window(at, before=1, after=1)


def test_places_are_packed_and_unpacked() -> None:
    place = {(generation, rank, 0): rank * 1000 for generation in (1, 2) for rank in range(256)}
    assert unpacked(packed(place)) == place
    assert len(packed(place)) < 4000, "it goes into an address"


def places(log: LogWindows, pattern: Pattern, at: str, *, is_forward: bool) -> list[bytes]:
    """Return all lines that are found, going on from each."""
    found: list[bytes] = []
    place = log.place(at)
    while True:
        seen = search(log, pattern, place, is_forward=is_forward)
        if seen.line is not None:
            found.append(seen.line.data)
            place = log.place(seen.line.after if is_forward else seen.line.cursor)
        elif seen.place is not None:
            place = seen.place
        else:
            return found


def wanted(text: str, *, is_regex: bool = False, is_case_sensitive: bool = False) -> Pattern:
    return Pattern(text, is_regex=is_regex, is_case_sensitive=is_case_sensitive)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("pattern", "same"),
    [
        (wanted(".1"), r"\.1"),
        (wanted("XXXX"), "xxxx"),
        (wanted("XXXX", is_case_sensitive=True), "(?-i:XXXX)"),
        (wanted("nosuch"), "nosuch"),
        (wanted(r"\d\.\d", is_regex=True), r"\d\.\d"),
        (wanted("^1|2$", is_regex=True), "^1|2$"),
        (wanted(r"^[^\n]*\b1\b", is_regex=True), r"\b1\b"),
    ],
)
def test_a_search_finds_each_matching_line_in_order_in_slices_of_any_size(
    tmp_path: Path, seed: int, pattern: Pattern, same: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_search, "_BLOCK", 64)
    monkeypatch.setattr(log_search, "_OVERLAP", 32)
    monkeypatch.setattr(log_search, "_SLICE", 128)
    log = windows(some_log(tmp_path, seed))
    lines = [line.data for line in log.lines_after(log.place("start"))]
    expected = [line for line in lines if re.search(same.encode(), line.removesuffix(b"\n"), re.IGNORECASE)]
    assert places(log, pattern, "start", is_forward=True) == expected
    assert places(log, pattern, "end", is_forward=False) == expected[::-1]


@pytest.mark.parametrize("text", ["(", "a)(b", "(?=a)b", "x*", "^$", ""])
def test_what_is_no_regular_expression_or_matches_everything_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        wanted(text, is_regex=True)
    assert caught.value.field == "q"


def test_no_expression_takes_longer_than_its_text_is_long() -> None:
    data = b"x" * 200_000 + b"\n"
    assert wanted(r"(x+x+)+y", is_regex=True).first(data, 0, is_whole=True) == -1
    assert wanted(r"(x+x+)+y", is_regex=True).last(data, 0, is_whole=True) == -1


def test_errors_are_found_whoever_wrote_them(tmp_path: Path) -> None:
    files = LogFiles(tmp_path)
    write(files, 1, 0, "stdout", [(1, b"Errors: 0, no error here\n"), (5, b"ValueError: bad lr\n")])
    write(files, 1, 1, "stderr", [(3, b"fine\nTraceback (most recent call last):\n")])
    first = search(windows(files), ERRORS, windows(files).place("start"), is_forward=True)
    assert first.line is not None
    assert (first.line.stream.rank, first.line.data) == (1, b"Traceback (most recent call last):\n")
    assert places(windows(files), ERRORS, "end", is_forward=False)[0] == b"ValueError: bad lr\n"


def test_the_cost_of_a_window_does_not_depend_on_the_size_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = LogFiles(tmp_path)
    block = b"".join(b"line %07d of a log that is long\n" % i for i in range(30_000))
    for rank in (0, 1):
        write(files, 1, rank, "stdout", [(n, block) for n in range(1, 40)])
    log, read, original = windows(files), list[int](), LogStream.read

    def counted(stream: LogStream, offset: int, limit: int = 1 << 20) -> bytes:
        read.append(len(data := original(stream, offset, limit)))
        return data

    monkeypatch.setattr(LogStream, "read", counted)
    for at in ("end", "start", "0.5"):
        assert len(log.window(at, before=400, after=400).lines) >= 400
    assert sum(read) < 12 << 20 < log.size / 6
