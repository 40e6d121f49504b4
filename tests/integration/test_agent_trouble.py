"""Agents when things go wrong: lost answers, absent servers, ranks that do not want to end, kill -9 everywhere."""

from __future__ import annotations

import dataclasses
import signal

import pytest
from tests.support.agents import AgentBench
from tests.support.processes import is_alive, wait_until

from opengrid.core.protocol import Broken, Ended, Exited, Phase, Prepared, Released, Started
from opengrid.core.spec import Framework
from opengrid.node import spawn

#: Writes down its pid, starts a child in a session of its own, and does not listen to SIGTERM.
_STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
child = subprocess.Popen(
    [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"],
    start_new_session=True,
)
open(f"pids{os.environ['RANK']}", "w").write(f"{os.getpid()} {child.pid}")
print("up", flush=True)
while True:
    time.sleep(600)
"""


def _pids(bench: AgentBench, rank: int = 0, machine: int = 0) -> list[int]:
    return [int(pid) for pid in (bench.folder / f"work/node{machine}/pids{rank}").read_text().split()]


def test_lost_answers_lose_nothing_and_double_nothing(bench: AgentBench) -> None:
    bench.assign("print('once')", ranks=(2,))
    bench.server.lose = {"hello": 2, "desired": 3, "facts": 4, "logs": 3}
    bench.start()
    bench.run()
    bench.until_ended()
    bench.release()
    assert [type(fact) for fact in bench.server.facts[0]] == [Prepared, Started, Exited, Exited, Ended, Released]
    assert [bench.server.text(rank) for rank in (0, 1)] == [b"once\n", b"once\n"]
    repeated = [message.first for _, message in bench.server.messages]
    assert len(repeated) > len(set(repeated)), "facts were repeated"


def test_everything_goes_on_while_the_server_is_away_and_is_told_when_it_is_back_elsewhere(bench: AgentBench) -> None:
    bench.assign("""
        import os, time
        print("before", flush=True)
        while not os.path.exists("go"):
            time.sleep(0.01)
        print("while away", flush=True)
        open("done", "w").close()
    """)
    bench.start()
    bench.run()
    bench.wait_for_log(b"before")
    bench.server.kill()
    work = bench.folder / "work/node0"
    (work / "go").touch()
    wait_until((work / "done").exists, "the rank's end")
    bench.server.start()
    bench.until_ended()
    bench.release()
    assert bench.server.text(0) == b"before\nwhile away\n"
    assert [fact.exit_code for fact in bench.server.of(Exited)] == [0]


def test_a_server_that_comes_late_is_waited_for(bench: AgentBench) -> None:
    bench.assign("pass")
    bench.start_agent()
    bench.server.start()
    bench.run()
    bench.until_ended()
    bench.release()


def test_an_agent_that_is_superseded_ends_its_ranks_and_itself(bench: AgentBench) -> None:
    bench.assign(_STUBBORN)
    bench.start()
    bench.run()
    bench.wait_for_log(b"up")
    pids = _pids(bench)
    with bench.server.changed:
        bench.server.is_superseded = True
        bench.server.changed.notify_all()
    assert bench.agents[0].wait(60) == 4
    assert not any(is_alive(pid) for pid in pids)
    assert not (bench.folder / "agents/spool/e1-1-0").exists()


def test_ranks_get_sigterm_then_their_grace_then_the_end_with_all_their_children(bench: AgentBench) -> None:
    bench.assign(_STUBBORN, ranks=(1, 1))
    bench.start()
    bench.run()
    bench.wait_for_log(b"up", 0, machine=0)
    bench.wait_for_log(b"up", 1, machine=1)
    pids = _pids(bench, 0) + _pids(bench, 1, 1)
    bench.server.stop_ranks(1, terminate=True, grace_s=1.0)
    bench.until_ended()
    assert not any(is_alive(pid) for pid in pids)
    bench.release()
    assert bench.server.text(0) == b"up\nno\n"
    assert [fact.exit_code for fact in bench.server.of(Exited)] == [-9, -9]


def test_ranks_that_end_by_themselves_are_not_waited_for(bench: AgentBench) -> None:
    bench.assign("""
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        print("up", flush=True)
        time.sleep(600)
    """)
    bench.start()
    bench.run()
    bench.wait_for_log(b"up")
    bench.server.stop_ranks(1, terminate=True, grace_s=500.0)
    bench.until_ended()
    assert bench.server.of(Exited)[0].exit_code == 0
    bench.release()


def test_what_a_rank_leaves_behind_ends_with_its_generation(bench: AgentBench) -> None:
    bench.assign("""
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        open("pids0", "w").write(str(child.pid))
    """)
    bench.start()
    bench.run()
    bench.until_ended()
    assert not any(is_alive(pid) for pid in _pids(bench))
    bench.release()


def test_kill_9_of_an_agent_leaves_no_process(bench: AgentBench) -> None:
    bench.assign(_STUBBORN, ranks=(2,))
    bench.start()
    bench.run()
    for rank in (0, 1):
        bench.wait_for_log(b"up", rank)
    pids = _pids(bench, 0) + _pids(bench, 1)
    bench.agents[0].kill()
    bench.agents[0].wait()
    wait_until(lambda: not any(is_alive(pid) for pid in pids), "the end of all ranks")


def test_an_agent_that_replaces_a_killed_one_sends_what_its_ranks_had_written(bench: AgentBench) -> None:
    bench.assign(
        """
        import os, time
        print("first", flush=True)
        while os.environ["GRID_GENERATION"] == "1" and not os.path.exists("go"):
            time.sleep(0.01)
        print("second", flush=True)
        open("written", "w").close()
        time.sleep(0 if os.environ["GRID_GENERATION"] == "2" else 600)
        """
    )
    bench.start()
    port = bench.prepare()
    bench.server.tell(1, Phase.RUN, store_address="127.0.0.1", store_port=port, flush_interval_s=600)
    bench.wait_for_log(b"first")  # the first bytes come at once, the next ones in ten minutes
    work = bench.folder / "work/node0"
    (work / "go").touch()
    wait_until((work / "written").exists, "the second line")
    agent = bench.agents.pop(0)
    agent.kill()
    agent.wait()
    bench.server.forget(0)
    bench.server.tell(2, Phase.PREPARE)
    bench.start_agent()
    bench.run(2)
    bench.until_ended(2)
    bench.release(2)
    assert bench.server.text(0) == bench.server.text(0, generation=2) == b"first\nsecond\n"
    times = bench.server.index[(0, 1, 0, "stdout")]
    assert [offset for offset, _ in times] == [0, 6]
    assert not (bench.folder / "agents/spool/e1-1-0").exists()


def test_the_recorded_groups_are_enough_to_sweep_after_kill_9_of_everything(bench: AgentBench) -> None:
    bench.assign(_STUBBORN)
    bench.start()
    bench.run()
    bench.wait_for_log(b"up")
    pids = _pids(bench)
    recorded = spawn.read_groups(bench.folder / "agents/e1-1-0.groups")
    assert [group.id for group in recorded] == pids[:1]
    bench.agents[0].kill()
    spawn.kill(_launcher_of(pids[0]), signal.SIGKILL)
    spawn.sweep(recorded)
    wait_until(lambda: not any(is_alive(pid) for pid in pids), "the end of all ranks")


def test_a_dead_launcher_is_told_as_the_end_of_its_ranks_and_replaced(bench: AgentBench) -> None:
    bench.assign(_STUBBORN)
    bench.start()
    bench.run()
    bench.wait_for_log(b"up")
    pids = _pids(bench)
    spawn.kill(_launcher_of(pids[0]), signal.SIGKILL)
    bench.until_ended()
    exited = bench.server.of(Exited)[0]
    assert (exited.exit_code, "launcher of machine 0 died" in exited.log_tail) == (-9, True)
    wait_until(lambda: not any(is_alive(pid) for pid in pids), "the end of all ranks")
    bench.run(2)
    bench.wait_for_log(b"up", generation=2)
    bench.server.tell(2, Phase.RELEASED)
    bench.until_ended(2)
    bench.release(2)


def test_an_interpreter_that_does_not_start_breaks_the_generation(bench: AgentBench) -> None:
    bench.assign("pass")
    machine = bench.server.assignments
    machine[0] = dataclasses.replace(machine[0], python="/nonexistent/python")
    bench.start()
    bench.server.tell(1, Phase.PREPARE)
    bench.server.until(lambda: bool(bench.server.of(Broken)))
    assert "/nonexistent/python" in bench.server.of(Broken)[0].message
    bench.release()


def test_ranks_without_progress_end_when_the_server_stays_away(bench: AgentBench) -> None:
    bench.assign("import time; print('up', flush=True); time.sleep(600)")
    bench.options = ["--stuck_s", "1"]
    bench.start()
    bench.run()
    bench.wait_for_log(b"up")
    rank = bench.server.of(Started)[0].pids["0"]
    bench.server.kill()
    wait_until(lambda: not is_alive(rank), "the end of the stuck rank")
    bench.server.start()
    bench.until_ended()
    assert bench.server.of(Exited)[0].exit_code == -signal.SIGTERM
    bench.release()


def test_an_agent_gives_up_when_the_server_never_comes_back(bench: AgentBench) -> None:
    bench.assign("print('up', flush=True)\nwhile True: pass")
    bench.options = ["--away_s", "1", "--stuck_s", "2"]
    bench.start()
    bench.run()
    bench.wait_for_log(b"up")
    rank = bench.server.of(Started)[0].pids["0"]
    bench.server.kill()
    assert bench.agents[0].wait(60) == 3
    assert not is_alive(rank)
    assert (bench.folder / "agents/spool/e1-1-0/1/0.stdout").read_bytes() == b"up\n", "kept for whoever asks"


def test_an_agent_whose_home_is_removed_ends_its_ranks_and_itself(bench: AgentBench) -> None:
    bench.assign("print('up', flush=True)\nwhile True: pass")
    bench.options = ["--gone_s", "1", "--stuck_s", "2"]
    home = bench.folder / "home"
    home.mkdir()
    bench.server.server_file = home / "server.json"
    bench.start()
    bench.run()
    bench.wait_for_log(b"up")
    rank = bench.server.of(Started)[0].pids["0"]
    bench.server.kill()
    home.rename(bench.folder / "removed")
    assert bench.agents[0].wait(60) == 3
    assert not is_alive(rank)


def test_an_agent_that_waits_for_a_server_ends_with_its_home(bench: AgentBench) -> None:
    bench.assign("pass")
    bench.options = ["--gone_s", "0"]
    bench.start_agent()
    wait_until((bench.folder / "agents/e1-1-0.lock").exists, "the agent's start")
    (bench.folder / "agents").rename(bench.folder / "removed")
    assert bench.agents[0].wait(60) == 1
    assert "no server" in bench.agent_log()


@pytest.mark.parametrize("runs", [True, False])
def test_sigterm_ends_an_agent_without_a_server_after_its_ranks(bench: AgentBench, *, runs: bool) -> None:
    bench.assign("""
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("saved", flush=True)))
        print("up", flush=True)
        time.sleep(600)
    """)
    bench.options = ["--leaving_s", "0.2"]
    bench.start()
    if runs:
        bench.run()
        bench.wait_for_log(b"up")
    else:
        bench.prepare()
    bench.server.kill()
    bench.agents[0].terminate()
    assert bench.agents[0].wait(60) == 3
    kept = bench.folder / "agents/spool/e1-1-0/1/0.stdout"
    assert (kept.read_bytes() if runs else b"up\nsaved\n") == b"up\nsaved\n"


def test_four_ranks_on_two_machines_meet_through_torch(bench: AgentBench) -> None:
    pytest.importorskip("torch")
    bench.assign(
        """
        import os, torch, torch.distributed as dist
        dist.init_process_group("gloo")
        sum = torch.ones(1) * dist.get_rank()
        dist.all_reduce(sum)
        print(int(sum), os.environ["GROUP_RANK"], os.environ["LOCAL_RANK"], repr(os.environ["CUDA_VISIBLE_DEVICES"]))
        dist.destroy_process_group()
        """,
        ranks=(2, 2),
        framework=Framework.TORCH,
        preload=("torch", "torch.distributed"),
    )
    bench.start()
    bench.run()
    bench.until_ended()
    bench.release()
    texts = [bench.server.text(rank, machine=rank // 2) for rank in range(4)]
    assert texts == [b"6 0 0 ''\n", b"6 0 1 ''\n", b"6 1 0 ''\n", b"6 1 1 ''\n"]
    assert [fact.met for fact in (bench.server.of(Ended, 0) + bench.server.of(Ended, 1))] == [True, None]
    prepared = bench.server.of(Prepared)
    assert {fact.launch for fact in prepared} == {"fork"}
    assert all(fact.launch_reason.startswith("template") for fact in prepared)


def test_ranks_that_never_meet_are_noticed_and_variables_read_too_early_mean_processes(bench: AgentBench) -> None:
    pytest.importorskip("torch")
    bench.assign(
        "import os; print(os.environ['MALLOC_ARENA_MAX'])",
        ranks=(2,),
        framework=Framework.TORCH,
        preload=("torch", "torch.distributed"),
        environment={"MALLOC_ARENA_MAX": "2"},
    )
    bench.start()
    bench.run()
    bench.until_ended()
    bench.release()
    assert bench.server.of(Ended)[0].met is False
    prepared = bench.server.of(Prepared)[0]
    assert prepared.launch == "exec"
    assert prepared.launch_reason.startswith("MALLOC_ARENA_MAX is read while libraries load")


def _launcher_of(rank_pid: int) -> int:
    found = spawn.process(rank_pid)
    assert found is not None
    return found.parent
