"""Real agents, from hello to release."""

from __future__ import annotations

import pytest
from tests.support.agents import AgentBench
from tests.support.processes import wait_until

from opengrid.core.protocol import Broken, Ended, Exited, Phase, Prepared, Released, Started
from opengrid.core.spec import ProgramKind


def test_a_machine_goes_from_hello_to_release_and_leaves_nothing_but_its_work(bench: AgentBench) -> None:
    bench.assign("import os; print(os.environ['RANK'], open('pkg/data.txt').read())", ranks=(2,))
    bench.start()
    bench.run()
    bench.until_ended()
    bench.release()
    kinds = [type(fact) for fact in bench.server.facts[0]]
    assert kinds == [Prepared, Started, Exited, Exited, Ended, Released]
    assert {fact.exit_code for fact in bench.server.of(Exited)} == {0}
    assert [bench.server.text(rank) for rank in (0, 1)] == [b"0 data\n", b"1 data\n"]
    assert (bench.folder / "work/node0/script.py").exists()
    assert not bench.ticket().exists()
    assert not (bench.folder / "agents/spool/e1-1-0").exists()
    assert not (bench.folder / "agents/e1-1-0.groups").exists()


def test_logs_arrive_byte_for_byte_with_times(bench: AgentBench) -> None:
    bench.assign(
        r"""
        import os, sys
        out, err = sys.stdout.buffer.raw, sys.stderr.buffer.raw
        out.write(b"10%\r20%\r\xff\xfe no utf-8 \0 bytes\n")
        err.write(b"\xf0\x9f half a rune")
        for block in range(40):
            os.write(1, bytes([block]) * 100_003)
        out.write(b"no newline at the end")
        """
    )
    bench.start()
    bench.run()
    bench.until_ended()
    bench.release()
    blocks = b"".join(bytes([block]) * 100_003 for block in range(40))
    assert bench.server.text(0) == b"10%\r20%\r\xff\xfe no utf-8 \0 bytes\n" + blocks + b"no newline at the end"
    assert bench.server.text(0, "stderr") == b"\xf0\x9f half a rune"
    times = bench.server.index[(0, 1, 0, "stdout")]
    assert times[0][0] == 0
    assert [ns for _, ns in times] == sorted(ns for _, ns in times)


def test_an_uncaught_exception_is_told_with_its_place(bench: AgentBench) -> None:
    bench.assign("def main():\n    raise ValueError('bad lr')\n\nmain()\n")
    bench.start()
    bench.run()
    bench.until_ended()
    exited = bench.server.of(Exited)[0]
    assert (exited.exit_code, exited.exception, exited.frame) == (1, "ValueError: bad lr", "script.py:2 in main")
    assert (exited.peak_mib or 0) > 1
    assert (exited.available_mib or 0) > 1
    assert exited.oom_killed is False
    assert exited.log_tail.startswith("Traceback")


def test_a_failure_without_exception_is_told_with_the_end_of_stderr(bench: AgentBench) -> None:
    bench.assign("import os; os.write(2, b'x' * 9000 + b'\\nlast \\xff words\\n'); os._exit(3)")
    bench.start()
    bench.run()
    bench.until_ended()
    exited = bench.server.of(Exited)[0]
    assert (exited.exit_code, exited.exception, exited.log_tail) == (3, None, "last \ufffd words\n")


def test_the_next_generation_starts_in_the_same_folder_after_the_last_one_is_gone(bench: AgentBench) -> None:
    bench.assign("""
        import os, time
        open("seen", "a").write(os.environ["GRID_GENERATION"])
        print("up", flush=True)
        time.sleep(600 if os.environ["GRID_GENERATION"] == "1" else 0)
    """)
    bench.start()
    bench.run(1)
    bench.wait_for_log(b"up")
    # Straight to the next one, as after a poll whose answer with the stop was lost.
    bench.run(2)
    bench.until_ended(2)
    bench.release(2)
    assert [(f.generation, f.exit_code) for f in bench.server.of(Exited)] == [(1, -9), (2, 0)]
    assert (bench.folder / "work/node0/seen").read_text() == "12"
    assert bench.server.text(0, generation=2) == b"up\n"


def test_a_shell_script_without_x_bit_runs_with_its_port_and_folder(bench: AgentBench) -> None:
    bench.assign(
        "echo $0 $1 $WORLD_SIZE; cat pkg/data.txt",
        "two words",
        kind=ProgramKind.EXECUTABLE,
        target="train.sh",
    )
    bench.start()
    bench.run()
    bench.until_ended()
    bench.release()
    prepared = bench.server.of(Prepared)[0]
    assert (prepared.launch, bool(prepared.store_port)) == ("exec", True)
    assert "not a Python program" in prepared.launch_reason
    assert bench.server.text(0) == b"./train.sh two words 1\ndata"


def test_a_bundle_comes_over_http_where_no_disk_is_shared(bench: AgentBench) -> None:
    bench.assign("print('here')", shares_disk=False)
    bench.server.lose["blobs"] = 1
    bench.start()
    bench.run()
    bench.until_ended()
    bench.release()
    assert bench.server.text(0) == b"here\n"


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_broken_bundle_breaks_the_generation_with_the_reason(bench: AgentBench, damage: str) -> None:
    bench.assign("pass")
    bundle = bench.folder / "bundle.tar"
    if damage == "changed":
        bundle.write_bytes(b"x" * 10240)
    else:
        bundle.unlink()
        bench.server.blobs.clear()
    bench.start()
    bench.server.tell(1, Phase.PREPARE)
    bench.server.until(lambda: bool(bench.server.of(Broken)))
    assert ("is not what was sent" if damage == "changed" else "no blobs") in bench.server.of(Broken)[0].message
    bench.release()
    assert not (bench.folder / "work/node0").exists()


def test_a_machine_can_be_released_before_it_has_done_anything(bench: AgentBench) -> None:
    bench.assign("pass")
    bench.start()
    bench.release(0)
    assert [type(fact) for fact in bench.server.facts[0]] == [Released]


def test_a_second_copy_of_an_agent_ends_at_once_and_silently(bench: AgentBench) -> None:
    bench.assign("pass")
    bench.start()
    wait_until(lambda: bool(bench.server.hellos), "hello")
    assert bench.start_agent().wait(60) == 0
    bench.prepare()
    bench.release()
    assert len({hello.session for hello in bench.server.hellos}) == 1


def test_a_ticket_that_is_refused_ends_the_agent(bench: AgentBench) -> None:
    bench.assign("pass")
    bench.server.start()
    assert bench.start_agent(token="stolen").wait(60) == 1
    assert "unknown token" in bench.agent_log()
    assert "stolen" not in bench.agent_log()
