"""What an agent and its launcher say to one another: one JSON document a line over a unix stream socket."""

from __future__ import annotations

import json
import signal
import socket
from dataclasses import dataclass
from typing import Literal, cast

from opengrid.core.codec import from_json, to_json
from opengrid.core.mounts import Mount
from opengrid.core.spec import Program

#: First byte on a connection to a template: "fork a launcher that serves this connection".
LAUNCH = b"L"

#: Makes a Python rank write the stacks of all its threads. A real-time signal: USR1 and USR2 belong to Slurm,
#: Lightning and users.
STACKS_SIGNAL = signal.SIGRTMIN + 7


@dataclass(frozen=True, slots=True, kw_only=True)
class RankStart:
    """One rank to start: everything that its process needs to know."""

    rank: int
    program: Program
    environment: dict[str, str]  #: complete; nothing is inherited
    directory: str  #: where it starts, and where a relative target is looked up
    stdout: str  #: appended to
    stderr: str
    title: str  #: what ps, top and nvidia-smi show
    error_file: str | None = None  #: gets an uncaught exception, in torch's format
    stacks: str | None = None  #: gets all threads' stacks on STACKS_SIGNAL (Python programs only)
    overlay: str | None = None  #: folder with further packages
    preloaded: bool = True  #: False: start a fresh interpreter even where a fork would do
    mounts: tuple[Mount, ...] = ()  #: datastore versions that it sees
    scratch: str | None = None  #: an empty folder of its own, to make mounts in


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRanks:
    """Start these ranks; each is answered by RankStarted."""

    kind: Literal["start_ranks"] = "start_ranks"
    ranks: tuple[RankStart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStore:
    """End the store of the last generation and open a new one; answered by StoreOpened or StoreFailed."""

    kind: Literal["open_store"] = "open_store"
    address: str
    title: str
    timeout_s: float = 30.0  #: an address that does not resolve or is not ours is tried for this long


@dataclass(frozen=True, slots=True, kw_only=True)
class AskMet:
    """Ask whether any rank ever connected to the store; answered by StoreMet."""

    kind: Literal["ask_met"] = "ask_met"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRanks:
    """Send a signal to the process groups of some ranks; SIGKILL reaches whole groups and all their descendants."""

    kind: Literal["signal_ranks"] = "signal_ranks"
    signal: int
    ranks: tuple[int, ...] | None = None  #: None: all


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpStacks:
    """Make Python ranks write the stacks of their threads to their `stacks` files."""

    kind: Literal["dump_stacks"] = "dump_stacks"
    ranks: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clear:
    """Kill everything below the launcher but the store, with what ranks left behind; answered by Cleared."""

    kind: Literal["clear"] = "clear"


Request = StartRanks | OpenStore | AskMet | SignalRanks | DumpStacks | Clear


@dataclass(frozen=True, slots=True, kw_only=True)
class LauncherReady:
    """First message of a launcher."""

    kind: Literal["ready"] = "ready"
    pid: int
    start_time: int  #: of the launcher, ticks since boot
    template: int  #: the template's pid
    missing: dict[str, str]  #: modules that could not be preloaded → why


@dataclass(frozen=True, slots=True, kw_only=True)
class RankStarted:
    """A rank's process exists. Its pid is the id of its process group too."""

    kind: Literal["started"] = "started"
    rank: int
    pid: int
    start_time: int  #: field 22 of /proc/pid/stat: with the boot id it makes the pid unique
    at_ns: int
    launch: Literal["fork", "exec"]
    reason: str  #: why it is not a fork; "" for a fork


@dataclass(frozen=True, slots=True, kw_only=True)
class RankExited:
    """A rank's process ended and was reaped; what it left in its process group may live on until Clear."""

    kind: Literal["exited"] = "exited"
    rank: int
    pid: int
    exit_code: int  #: negative: by that signal
    at_ns: int
    peak_mib: int | None = None  #: most resident memory of its process, or of the largest that it reaped


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOpened:
    """The store listens."""

    kind: Literal["store_opened"] = "store_opened"
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFailed:
    """The store could not be opened, or died."""

    kind: Literal["store_failed"] = "store_failed"
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreMet:
    """Whether any rank ever connected to the store; None when there is no store."""

    kind: Literal["store_met"] = "store_met"
    met: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """No process but the store is left below the launcher; all exits were reported before."""

    kind: Literal["cleared"] = "cleared"
    at_ns: int


Reply = LauncherReady | RankStarted | RankExited | StoreOpened | StoreFailed | StoreMet | Cleared


def encode(message: Request | Reply) -> bytes:
    """Return the line of one message. Pure ASCII: undecodable bytes of the environment survive as lone surrogates."""
    return json.dumps(to_json(message), separators=(",", ":")).encode("ascii") + b"\n"


def decode_request(line: bytes) -> Request:
    """Return the request in a line; InvalidValue when it is none."""
    return from_json(cast("type[Request]", Request), json.loads(line), at="request")


def decode_reply(line: bytes) -> Reply:
    """Return the reply in a line; InvalidValue when it is none."""
    return from_json(cast("type[Reply]", Reply), json.loads(line), at="reply")


class LineReader:
    """Cuts what arrives on a socket into whole lines."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._rest = bytearray()

    def read(self) -> list[bytes] | None:
        """Receive once and return the lines that are now complete; None at the end of the stream.

        Blocks only if the socket does; BlockingIOError counts as nothing received.
        """
        try:
            received = self._connection.recv(1 << 18)
        except (BlockingIOError, InterruptedError):
            return []
        except ConnectionError:
            return None
        if not received:
            return None
        self._rest += received
        if b"\n" not in received:
            return []
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        return lines
