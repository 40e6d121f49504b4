"""Real agents ship event files while ranks write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.agents import AgentBench

from opengrid.core.errors import InvalidValue
from opengrid.core.protocol import Restore


@pytest.fixture(autouse=True)
def fast(bench: AgentBench) -> None:
    bench.options += ["--settle_s", "0.2"]


def arrived(bench: AgentBench, path: str, content: bytes, node: int = 0) -> None:
    bench.server.until(lambda: bench.server.events.get((node, path)) == content, f"{path} of node {node}")


_WRITES = """
import os, time
os.makedirs("runs/a b", exist_ok=True)
with open("runs/a b/events.out.tfevents.1", "ab", buffering=0) as file:
    file.write(b"first")
    while not os.path.exists("go"):
        time.sleep(0.01)
    file.write(b", second")
    while not os.path.exists("end"):
        time.sleep(0.01)
    file.write(b", last")
open("runs/tfevents.late", "wb").write(b"x" * 3_000_000)
"""


def test_event_files_of_every_node_come_while_they_are_written_and_to_the_last_byte(bench: AgentBench) -> None:
    bench.assign(_WRITES, ranks=(1, 1), collects=True)
    bench.start()
    bench.run()
    path = "runs/a b/events.out.tfevents.1"
    for node in (0, 1):
        arrived(bench, path, b"first", node)
        (bench.folder / f"work/node{node}/go").touch()
        arrived(bench, path, b"first, second", node)
        bench.server.kill()
        (bench.folder / f"work/node{node}/end").touch()
        bench.server.start()
    bench.until_ended()
    bench.release()
    for node in (0, 1):
        assert bench.server.events[node, path] == b"first, second, last"
        assert bench.server.events[node, "runs/tfevents.late"] == b"x" * 3_000_000
        assert bench.server.artifact(path, node) == b"first, second, last"
        assert bench.server.events_of[node, path] == 1


def test_a_file_belongs_to_the_generation_that_made_it_and_the_users_own_are_left_alone(bench: AgentBench) -> None:
    bench.assign(
        """
        import os
        open(f"tfevents.{os.environ['GRID_GENERATION']}", "w").write("x")
        """,
        collects=True,
        target="script_tfevents.py",
    )
    bench.start()
    bench.run()
    bench.until_ended()
    bench.server.restores[2] = Restore()
    bench.prepare(2)
    arrived(bench, "tfevents.1", b"x")
    bench.run(2)
    bench.until_ended(2)
    bench.release(2)
    assert bench.server.events_of == {(0, "tfevents.1"): 1, (0, "tfevents.2"): 2}


@pytest.mark.parametrize(
    "trouble", ["os.unlink(name)", "os.truncate(name, 1)", "os.unlink(name); os.mkfifo(name)", "os.chmod(name, 0)"]
)
def test_a_file_that_vanishes_or_is_cut_disturbs_nobody(bench: AgentBench, trouble: str) -> None:
    if "chmod" in trouble and os.geteuid() == 0:
        pytest.skip("root reads everything")
    bench.assign(
        f"""
        import os, time
        name = "tfevents.1"
        open(name, "w").write("content")
        while not os.path.exists("go"):
            time.sleep(0.01)
        {trouble}
        open("tfevents.2", "w").write("other")
        print("done")
        """,
        collects=True,
    )
    bench.start()
    bench.run()
    arrived(bench, "tfevents.1", b"content")
    (bench.folder / "work/node0/go").touch()
    bench.until_ended()
    bench.release()
    assert bench.server.events[0, "tfevents.2"] == b"other"
    assert bench.server.text(0) == b"done\n"


def test_a_file_that_the_server_does_not_want_holds_up_nothing(bench: AgentBench) -> None:
    bench.server.refuse_events = InvalidValue("an experiment has at most 1000 event files")
    bench.assign('open("tfevents", "w").write("x"); print("done")', collects=True)
    bench.start()
    bench.run()
    bench.until_ended()
    bench.release()
    assert bench.server.text(0) == b"done\n"
    assert "not sending node 0's tfevents: an experiment has at most 1000 event files" in bench.agent_log()


def test_an_agent_that_comes_after_another_ships_what_that_one_had_not(bench: AgentBench) -> None:
    bench.assign(_WRITES, collects=True)
    bench.start()
    bench.run()
    path = "runs/a b/events.out.tfevents.1"
    arrived(bench, path, b"first")
    bench.agents[0].kill()
    bench.agents.pop(0).wait()
    (Path(bench.folder) / "work/node0/runs/tfevents.more").write_bytes(b"more")
    bench.server.forget(0)
    bench.start_agent(0)
    bench.server.restores[2] = Restore()
    bench.prepare(2)
    arrived(bench, "runs/tfevents.more", b"more")
    assert bench.server.events_of[0, "runs/tfevents.more"] == 0
    bench.release(2)
