"""The small pure parts of the agent: clock, orphan watch, log index, what failed ranks leave."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import pytest

from opengrid.core.spec import Framework, Program, ProgramKind
from opengrid.node.clock import ServerClock
from opengrid.node.logs import CHUNK, Stream
from opengrid.node.memory import available_mib, oom_kills
from opengrid.node.orphan import OrphanLimits, OrphanWatch, Verdict
from opengrid.node.outcome import Outcome, read_outcome
from opengrid.node.program import as_found, needs_store, reason_to_execute

# Clock


def test_the_servers_time_is_this_machines_until_an_answer_tells() -> None:
    assert ServerClock(lambda: 5).now_ns() == 5


def test_the_offset_comes_from_the_answer_that_travelled_fastest_even_among_held_polls() -> None:
    clock = ServerClock(lambda: 1_000)
    clock.observe(10_050, sent_ns=0, received_ns=100)  # 100 on the way, so the server is 10,000 ahead
    clock.observe(35_000, sent_ns=200, received_ns=25_030)  # held; its answer took 30
    clock.observe(60_000, sent_ns=300, received_ns=50_500)  # held, and we were slow to look
    assert clock.now_ns() == pytest.approx(11_000, abs=50)


def test_the_offset_follows_a_clock_that_drifts() -> None:
    clock = ServerClock(lambda: 0)
    for step in range(100):
        clock.observe(1_000 - step, sent_ns=0, received_ns=0)
    assert 1_000 - 99 <= clock.now_ns() <= 1_000 - 80


# Orphans

_LIMITS = OrphanLimits(away_s=3600.0, stuck_s=600.0)


def _judge(watch: OrphanWatch, now: float, *, away: float | None = 0.0, bytes_: int = 0, cpu: float = 0.0) -> Verdict:
    return watch.judge(now=now, away_since=away, living=2, log_bytes=bytes_, cpu_s=cpu)


def test_ranks_that_write_or_compute_go_on_without_a_server() -> None:
    watch = OrphanWatch(_LIMITS)
    for now in range(0, 3600, 5):
        progress = {"bytes_": now} if now < 1800 else {"bytes_": 1800, "cpu": now / 2}
        assert _judge(watch, now, **progress) is Verdict.GO_ON


def test_ranks_that_only_tick_are_ended_after_the_limit() -> None:
    watch = OrphanWatch(_LIMITS)
    verdicts = {now: _judge(watch, now, cpu=now * 0.001) for now in range(0, 700, 5)}
    assert verdicts[595] is Verdict.GO_ON
    assert verdicts[600] is Verdict.END_RANKS


def test_time_with_a_server_does_not_count() -> None:
    watch = OrphanWatch(_LIMITS)
    for now in range(0, 5000, 5):
        assert _judge(watch, now, away=None) is Verdict.GO_ON
    assert _judge(watch, 5000, away=5000) is Verdict.GO_ON
    assert _judge(watch, 5595, away=5000) is Verdict.GO_ON
    assert _judge(watch, 5600, away=5000) is Verdict.END_RANKS


def test_an_agent_gives_up_in_the_end_whatever_its_ranks_do() -> None:
    watch = OrphanWatch(_LIMITS)
    assert [_judge(watch, now, bytes_=now) for now in (0, 3599, 3600)][1:] == [Verdict.GO_ON, Verdict.GIVE_UP]


def test_a_machine_without_living_ranks_is_not_stuck() -> None:
    watch = OrphanWatch(_LIMITS)
    for now in range(0, 3600, 5):
        assert watch.judge(now=now, away_since=0, living=0, log_bytes=0, cpu_s=0) is Verdict.GO_ON


def test_an_agent_whose_server_has_no_folder_any_more_gives_up() -> None:
    seen = {"living": 2, "log_bytes": 0, "cpu_s": 0.0, "is_homeless": True}
    assert OrphanWatch(_LIMITS).judge(now=1.0, away_since=None, **seen) is Verdict.GO_ON, "the server answers yet"
    assert OrphanWatch(_LIMITS).judge(now=1.0, away_since=0.5, **seen) is Verdict.GIVE_UP


@pytest.mark.parametrize(("away", "leaving"), [(0.0, 90.0), (90.0, 0.0)])
def test_without_a_server_a_machine_that_goes_away_ends_its_ranks_and_then_itself(away: float, leaving: float) -> None:
    watch, seen = OrphanWatch(_LIMITS), {"away_since": away, "log_bytes": 0, "cpu_s": 0.0, "leaving_since": leaving}
    assert watch.judge(now=92.9, living=2, **seen) is Verdict.GO_ON, "a server that is being restarted comes back"
    assert watch.judge(now=93.0, living=2, **seen) is Verdict.END_RANKS
    assert watch.judge(now=94.0, living=0, **seen) is Verdict.GIVE_UP


def test_with_a_server_a_machine_that_goes_away_waits_for_its_word() -> None:
    seen = {"away_since": None, "log_bytes": 0, "cpu_s": 0.0, "leaving_since": 0.0}
    assert OrphanWatch(_LIMITS).judge(now=500.0, living=0, **seen) is Verdict.GO_ON


# Logs


def _stream(path: Path, content: bytes, looks: list[tuple[int, int]]) -> Stream:
    path.write_bytes(b"")
    stream = Stream(path=path, target="/logs", what="a log")
    for size, now_ns in looks:
        path.write_bytes(content[:size])
        stream.look(now_ns)
    return stream


def test_a_chunk_carries_the_times_at_which_its_bytes_were_seen(tmp_path: Path) -> None:
    stream = _stream(tmp_path / "log", b"abcdefghij", [(4, 100), (4, 200), (7, 300), (10, 400)])
    assert stream.next_chunk() == (b"abcdefghij", "0:100,4:300,7:400")
    stream.acknowledge(5)
    assert stream.next_chunk() == (b"fghij", "5:300,7:400")
    stream.acknowledge(10)
    assert stream.pending == 0


def test_a_server_that_has_less_than_it_said_gets_it_again(tmp_path: Path) -> None:
    stream = _stream(tmp_path / "log", b"abcdef", [(6, 100)])
    stream.acknowledge(6)
    stream.acknowledge(2)
    assert stream.next_chunk() == (b"cdef", "2:100")


def test_a_server_that_has_more_than_was_written_is_sent_nothing(tmp_path: Path) -> None:
    stream = _stream(tmp_path / "log", b"abc", [(3, 100)])
    stream.acknowledge(9)
    assert (stream.pending, stream.is_shut) == (0, True)


def test_chunks_and_the_index_stay_small_however_long_the_server_is_away(tmp_path: Path) -> None:
    path = tmp_path / "log"
    stream = _stream(path, b"", [])
    with path.open("ab") as file:
        for look in range(20_000):
            file.write(b"x" * 100)
            file.flush()
            stream.look(look)
    assert len(stream.times) <= 4096
    sent = b""
    while stream.pending:
        data, index = stream.next_chunk()
        assert 0 < len(data) <= CHUNK
        assert len(index) < 16_384
        assert index.startswith(f"{len(sent)}:")
        sent += data
        stream.acknowledge(len(sent))
    assert sent == path.read_bytes()


# What failed ranks leave


def test_an_exception_is_shown_relative_to_the_work_folder(tmp_path: Path) -> None:
    extra = {
        "py_callstack": "Traceback \udcff\0",
        "frame": {"file": str(tmp_path / "src/train.py"), "line": 12, "function": "main"},
    }
    error = tmp_path / "error.json"
    error.write_text(json.dumps({"message": {"message": "ValueError: bad \udcff lr", "extraInfo": extra}}))
    none = tmp_path / "none"
    outcome = read_outcome(error, none, none, tmp_path, stacks=none)
    assert outcome.frame == "src/train.py:12 in main"
    assert outcome.exception == "ValueError: bad ? lr"
    assert outcome.log_tail == "Traceback ?\ufffd"


def test_of_a_program_that_exits_on_purpose_the_output_is_shown_too(tmp_path: Path) -> None:
    error, out, none = tmp_path / "error.json", tmp_path / "out", tmp_path / "none"
    out.write_text("the data are of 2019\n")
    for exception, shown in (("SystemExit: 3", "callstack\nthe data are of 2019\n"), ("ValueError: x", "callstack\n")):
        message = {"message": exception, "extraInfo": {"py_callstack": "callstack\n"}}
        error.write_text(json.dumps({"message": message}))
        outcome = read_outcome(error, none, out, tmp_path, stacks=none)
        assert (outcome.exception, outcome.log_tail) == (exception, shown)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"message": {}}', '{"message": 3}'])
def test_an_error_file_that_is_none_leaves_the_end_of_the_output(tmp_path: Path, content: str) -> None:
    (tmp_path / "error.json").write_text(content)
    (tmp_path / "err").write_bytes(b"")
    (tmp_path / "out").write_bytes(b"line\n" * 5000)
    none, error = tmp_path / "none", tmp_path / "error.json"
    outcome = read_outcome(error, tmp_path / "err", tmp_path / "out", tmp_path, stacks=none)
    assert outcome.exception is None
    assert outcome.log_tail == "line\n" * 20


def _output(tmp_path: Path, stderr: str, stdout: str) -> Outcome:
    (tmp_path / "err").write_text(stderr)
    (tmp_path / "out").write_text(stdout)
    return read_outcome(tmp_path / "none", tmp_path / "err", tmp_path / "out", tmp_path, stacks=tmp_path / "stacks")


def test_what_a_killed_rank_wrote_last_is_shown_with_what_stands_on_a_terminal(tmp_path: Path) -> None:
    outcome = _output(tmp_path, "warned\n\r1%\r99%\r\n", "".join(f"step {i}\n" for i in range(100)))
    assert outcome.log_tail == "".join(f"step {i}\n" for i in range(82, 100)) + "warned\n99%\n"
    assert _output(tmp_path, "", "x" * 700).log_tail == "x" * 500 + "…\n"
    assert _output(tmp_path, "", "").log_tail == ""


def test_a_traceback_in_the_output_is_shown_whole(tmp_path: Path) -> None:
    text = "Traceback (most recent call last):\n" + "".join(f"  line {i}\n" for i in range(30)) + "KeyError: 1\n"
    assert _output(tmp_path, text, "step 7\n").log_tail == text


def test_a_crash_in_a_library_is_shown_at_the_users_line(tmp_path: Path) -> None:
    library = sysconfig.get_path("purelib")
    text = (
        "Fatal Python error: Segmentation fault\n\nThread 0x01 (most recent call first):\n"
        f'  File "{tmp_path}/other.py", line 1 in wait\n\nCurrent thread 0x02 [main] (most recent call first):\n'
        f'  File "{library}/torch/nn.py", line 7 in forward\n  File "{tmp_path}/train.py", line 12 in main\n'
        f'  File "{tmp_path}/train.py", line 30 in <module>\n\nExtension modules: torch._C (total: 1)\n'
    )
    assert _output(tmp_path, text, "").frame == "train.py:12 in main"


def test_a_rank_that_was_ended_is_shown_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "stacks").write_text(
        f'Thread 0x01 (most recent call first):\n  File "{tmp_path}/other.py", line 1 in wait\n\n'
        "Current thread 0x02 (most recent call first):\n"
        f'  File "/usr/lib64/python3.99/selectors.py", line 7 in select\n  File "{tmp_path}/train.py", line 9 in load\n'
        f'  File "{tmp_path}/agent.pyz/opengrid/node/rank.py", line 30 in run\n'
    )
    outcome = _output(tmp_path, "", "step 7\n")
    assert (outcome.frame, outcome.log_tail) == ("train.py:9 in load", "step 7\n")


# Memory


def test_the_kernels_words_on_memory_are_read_where_there_are_any(tmp_path: Path) -> None:
    assert (available_mib(tmp_path), oom_kills(tmp_path)) == (None, None)
    (tmp_path / "meminfo").write_text("MemTotal: 4096000 kB\nMemAvailable:   2048000 kB\nHugePages_Total: 0\n")
    (tmp_path / "vmstat").write_text("nr_free_pages 12\noom_kill 3\n")
    assert (available_mib(tmp_path), oom_kills(tmp_path)) == (2000, 3)
    (tmp_path / "vmstat").write_text("oom_kill\n")
    assert oom_kills(tmp_path) is None


# Programs


def _executable(target: str) -> Program:
    return Program(kind=ProgramKind.EXECUTABLE, target=target, arguments=("-x",))


def test_an_executable_is_found_as_a_shell_finds_it(tmp_path: Path) -> None:
    (tmp_path / "train.sh").write_text("echo hi")
    (tmp_path / "run.sh").write_text("#!/usr/bin/env -S bash -e\n")
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    found = {
        name: (program.target, *program.arguments)
        for name in ("train.sh", "./train.sh", "run.sh", "tool", "ls", "/bin/ls")
        for program in [as_found(_executable(name), tmp_path)]
    }
    assert found == {
        "train.sh": ("/bin/bash", "./train.sh", "-x"),
        "./train.sh": ("/bin/bash", "./train.sh", "-x"),
        "run.sh": ("/usr/bin/env", "-S bash -e", "./run.sh", "-x"),
        "tool": ("./tool", "-x"),
        "ls": ("ls", "-x"),
        "/bin/ls": ("/bin/ls", "-x"),
    }


def test_what_is_no_torch_program_or_must_be_fresh_is_not_forked() -> None:
    script = Program(kind=ProgramKind.SCRIPT, target="train.py")
    assert reason_to_execute(script, Framework.LIGHTNING, {"PATH": "/bin", "PYTHONPATH": "x"}) == ""
    assert reason_to_execute(script, Framework.TENSORFLOW, {}) == "framework tensorflow"
    assert reason_to_execute(_executable("x"), Framework.TORCH, {}) == "not a Python program"
    assert "LD_PRELOAD" in reason_to_execute(script, Framework.TORCH, {"LD_PRELOAD": "x.so"})
    assert needs_store(script, Framework.TORCH)
    assert not needs_store(_executable("x"), Framework.TORCH)
    assert not needs_store(script, Framework.JULIA)
