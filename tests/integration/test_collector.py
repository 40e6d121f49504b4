"""The collector by itself: all that there is when asked, digests of what was collected, and torn checkpoints."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.agents import AgentBench
from tests.support.gang_server import DEADLINE_S, GangServer

from opengrid.core.protocol import Ticket, Unsaved
from opengrid.node.artifacts import Collector
from opengrid.node.link import Channel, ServerAddress


def saved(content: bytes) -> bytes:
    """Return a zip file, which is what torch.save writes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data/0", content)
    return buffer.getvalue()


WHOLE, TORN = saved(b"whole"), saved(b"newer" * 100)[:300]


class Bench:
    """Collectors of one node's folder that never think a file has settled: only what is asked for is collected."""

    def __init__(self, folder: Path, server: GangServer) -> None:
        self.work, self.server = folder / "work", server
        self.work.mkdir()
        self.server.sessions["secret"] = 0
        self.server.start()
        self._ticket = Ticket(
            attempt_id="e1-1", machine=0, token="", server_file=str(self.server.server_file), state_dir=""
        )
        self._running: list[Collector] = []

    def collector(self, *, has_past: bool = False) -> Collector:
        """Return a collector of a folder in which nothing is the user's own."""
        self._drained, self.unsaved = threading.Event(), list[Unsaved | None]()
        collector = Collector(
            Channel(ServerAddress(self._ticket), "secret"),
            staging=None,
            on_drained=self._on_drained,
            on_superseded=lambda message: None,
            log=print,
            settle_s=3600,
        )
        collector.start()
        collector.watch({0: self.work}, before=frozenset(), has_past=has_past)
        self._running.append(collector)
        return collector

    def _on_drained(self, unsaved: Unsaved | None) -> None:
        self.unsaved.append(unsaved)
        self._drained.set()

    def drain(self, collector: Collector) -> Unsaved | None:
        collector.drain()
        assert self._drained.wait(DEADLINE_S)
        return self.unsaved[-1]

    def close(self) -> None:
        for collector in self._running:
            collector.stop()


@pytest.fixture
def bench(bench: AgentBench) -> Iterator[Bench]:
    bench.assign("pass", collects=True, shares_disk=False)
    own = Bench(bench.folder, bench.server)
    yield own
    own.close()


def test_collect_all_returns_when_everything_is_safe_though_nothing_has_settled(bench: Bench) -> None:
    for number in range(450):  # more than one offer takes
        (bench.work / f"{number}.txt").write_text(str(number))
    collector = bench.collector()
    collector.collect_all()
    assert all(bench.server.artifact(f"{number}.txt") == str(number).encode() for number in range(450))
    (bench.work / "0.txt").write_text("changed")
    collector.collect_all()
    assert bench.server.artifact("0.txt") == b"changed"


def test_collect_all_waits_for_a_server_that_is_away(bench: Bench) -> None:
    (bench.work / "last.pt").write_bytes(WHOLE)
    collector = bench.collector()
    bench.server.kill()
    asking = threading.Thread(target=collector.collect_all, daemon=True)
    asking.start()
    asking.join(0.3)
    assert asking.is_alive()
    bench.server.start()
    asking.join(DEADLINE_S)
    assert bench.server.artifact("last.pt") == WHOLE


def test_a_digest_is_known_of_what_was_collected_and_has_not_changed(bench: Bench) -> None:
    path = bench.work / "last.pt"
    path.write_bytes(WHOLE)
    collector = bench.collector()
    assert collector.digest_of(path) is None
    collector.collect_all()
    assert collector.digest_of(path) == hashlib.sha256(WHOLE).hexdigest()
    path.write_bytes(WHOLE + b"more")
    assert collector.digest_of(path) is None
    path.unlink()
    assert collector.digest_of(path) is None


def test_a_torn_checkpoint_never_replaces_the_whole_one_before_and_is_named_in_the_end(bench: Bench) -> None:
    path = bench.work / "last.pt"
    path.write_bytes(WHOLE)
    collector = bench.collector()
    collector.collect_all()
    path.write_bytes(TORN)
    collector.collect_all()
    assert bench.server.artifact("last.pt") == WHOLE
    unsaved = bench.drain(collector)
    assert unsaved is not None
    assert (unsaved.files[0].path, "it is torn" in unsaved.files[0].reason) == ("last.pt", True)


def test_a_torn_checkpoint_is_kept_where_there_is_no_other(bench: Bench) -> None:
    (bench.work / "last.pt").write_bytes(TORN)
    collector = bench.collector()
    collector.collect_all()
    assert bench.server.artifact("last.pt") == TORN
    assert bench.drain(collector) is None


def test_an_agent_that_replaces_another_does_not_know_what_was_safe_and_takes_no_torn_one(bench: Bench) -> None:
    path = bench.work / "last.pt"
    path.write_bytes(WHOLE)
    first = bench.collector()
    first.collect_all()
    first.stop()
    path.write_bytes(TORN)
    (bench.work / "log.txt").write_text("x")
    other = bench.work.with_name("other")  # a dead agent's lock on the folder is gone, ours is not
    bench.work.rename(other)
    bench.work.mkdir()
    for file in other.iterdir():
        file.rename(bench.work / file.name)
    bench.collector(has_past=True).collect_all()
    assert bench.server.artifact("log.txt") == b"x"
    assert bench.server.artifact("last.pt") == WHOLE
