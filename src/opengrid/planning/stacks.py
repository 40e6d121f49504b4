"""What faulthandler wrote in many ranks → who waits where: parsed, the user's files relative, equal stacks together."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_THREAD = re.compile(r"(Current thread|Thread) (0x[0-9a-f]+)(?: \[.*\])? \(most recent call first\):")

#: What an interpreter without a GIL writes: it can only show the thread that got the signal.
_ONLY_THREAD = "Stack (most recent call first):"

_FRAME = re.compile(r'  File (?:"(?P<file>.*)"|\?\?\?), line (?P<line>\d+|\?\?\?) in (?P<function>.*)')

#: More threads are not written; the main one, the oldest, comes last and is then missing.
_MORE_THREADS = "..."

#: How faulthandler writes what is not ASCII.
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")

#: Where Python's own files and installed packages lie; the longest match counts.
_INSTALLED = re.compile(r".*/(?:site-packages|dist-packages|lib(?:64)?/python3\.\d+t?)/")

#: The outermost frames of a rank's main thread are not the user's: an agent's archive runs the program, -m by runpy.
_OURS = re.compile(r"(?:.*\.pyz/)?opengrid/node/main_module\.py")
_RUNPY = re.compile(r"<frozen runpy>|.*/runpy\.py")

_NO_FRAME = "no Python code"


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a stack."""

    file: str  #: of the user's tree: relative to where the program started
    line: int  #: 0 when it is not known
    function: str


#: Outermost frame first, as in a traceback.
Frames = tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Dump:
    """All threads of one rank."""

    main: Frames
    others: tuple[Frames, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Ranks whose main threads have equal stacks, with the stacks of their other threads."""

    ranks: tuple[int, ...]
    frames: Frames
    threads: tuple[tuple[tuple[int, ...], Frames], ...] = ()  #: (ranks, frames), most common first


def read_dump(text: str, *, folder: str = "", directory: str = "") -> Dump | None:
    """Return the newest dump in what a rank wrote; None when there is no thread in it.

    Files below `folder`, the rank's tree, become relative to `directory` inside it: ranks of other nodes have other
    folders. The text may begin in the middle of an older dump, and may have been cut at either end.
    """
    threads: dict[str, list[Frame]] = {}
    current, thread, is_incomplete = None, None, False
    for line in text.split("\n")[:-1]:  # the last line has no end yet
        header = _THREAD.fullmatch(line)
        if header is not None or line == _ONLY_THREAD:
            id = header[2] if header is not None else line
            threads.pop(id, None)  # of an older dump
            thread = threads[id] = []
            current, is_incomplete = (id if header is None or header[1] != "Thread" else current), False
        elif line == _MORE_THREADS:
            is_incomplete = True
        elif (found := _FRAME.fullmatch(line)) is not None and thread is not None:
            thread.append(_frame(found, folder, directory))
        elif line and not line.startswith(" "):
            thread = None  # what a newer Python adds, like the C stack
    if not threads:
        return None
    main = current if is_incomplete and current is not None else next(reversed(threads))
    others = [frames for id, frames in threads.items() if id != main]
    return Dump(_users_part(threads[main]), tuple(tuple(reversed(frames)) for frames in others))


def group(dumps: Mapping[int, Dump]) -> list[Group]:
    """Return ranks with equal stacks of their main threads together: the most common first, then by rank."""
    groups = _together({rank: [dump.main] for rank, dump in dumps.items()})
    return [
        Group(ranks, frames, tuple(_together({rank: dumps[rank].others for rank in ranks}))) for ranks, frames in groups
    ]


def headline(frames: Sequence[Frame]) -> str:
    """Return where a stack is, on one line, with the user's own line that led there."""
    if not frames:
        return _NO_FRAME
    top = frames[-1]
    text = f"{top.function} ({_short(top.file)}:{top.line})"
    caller = next((frame for frame in reversed(frames) if is_users(frame.file)), top)
    if caller is top:
        return text
    where = "" if caller.function == "<module>" else f" in {caller.function}"
    return f"{text}, called from {caller.file}:{caller.line}{where}"


def is_users(file: str) -> bool:
    """Whether a file belongs neither to Python nor to an installed package."""
    return not file.startswith("<") and _INSTALLED.match(f"/{file}") is None


def _frame(found: re.Match[str], folder: str, directory: str) -> Frame:
    file, line = _unescaped(found["file"] or "<unknown>"), found["line"]
    if folder and file.startswith(f"{folder}/"):
        file = posixpath.relpath(file, posixpath.join(folder, directory))
    return Frame(file, int(line) if line.isdigit() else 0, _unescaped(found["function"]))


def _unescaped(text: str) -> str:
    def sign(found: re.Match[str]) -> str:
        code = int(found[1] or found[2] or found[3], 16)
        # Half a surrogate stands for a byte that is no text; nobody could encode it again.
        return found[0] if 0xD800 <= code < 0xE000 or code > 0x10FFFF else chr(code)

    return _ESCAPE.sub(sign, text)


def _users_part(innermost_first: Sequence[Frame]) -> Frames:
    """Return the main thread's frames from the program's first on, outermost first."""
    ours = next((i for i, frame in enumerate(innermost_first) if _OURS.fullmatch(frame.file)), None)
    frames = list(innermost_first[:ours])
    while ours is not None and frames and _RUNPY.fullmatch(frames[-1].file):
        frames.pop()
    return tuple(reversed(frames or innermost_first))  # all of them when the program has not begun


def _together(stacks: Mapping[int, Sequence[Frames]]) -> list[tuple[tuple[int, ...], Frames]]:
    found: dict[Frames, set[int]] = {}
    for rank, some in stacks.items():
        for frames in some:
            found.setdefault(frames, set()).add(rank)
    pairs = [(tuple(sorted(ranks)), frames) for frames, ranks in found.items()]
    return sorted(pairs, key=lambda pair: (-len(pair[0]), pair[0]))


def _short(file: str) -> str:
    return _INSTALLED.sub("", file)
