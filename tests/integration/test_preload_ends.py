"""Nothing survives: whoever is killed, no process of a rank is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.preloading import Bench
from tests.support.processes import is_alive, wait_until

from opengrid.core.codec import to_json
from opengrid.core.spec import Program, ProgramKind
from opengrid.node import spawn
from opengrid.node.preload.client import TemplateSpec, connect_launcher
from opengrid.node.preload.connection import LauncherLost

SCRIPT = Program(kind=ProgramKind.SCRIPT, target="script.py")

#: Ignores SIGTERM; has a child in its session, and a grandchild that left session and parent.
STUBBORN = """
    import os, signal, subprocess, time
    signal.signal(signal.SIGTERM, lambda *_: None)  # not SIG_IGN, which the child would inherit
    child = subprocess.Popen(["sleep", "600"])
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if (pid := os.fork()) != 0:
            os.write(writer, str(pid).encode())
            os._exit(0)
        time.sleep(600)
    grandchild = int(os.read(reader, 20))
    with open(f"pids.{os.environ['RANK']}.part", "w") as file: file.write(f"{os.getpid()} {child.pid} {grandchild}")
    os.rename(f"pids.{os.environ['RANK']}.part", f"pids.{os.environ['RANK']}")
    while True: time.sleep(600)
"""


def start_stubborn(bench: Bench, ranks: int = 2) -> list[int]:
    bench.write("script.py", STUBBORN)
    bench.start(*(bench.rank(SCRIPT, rank) for rank in range(ranks)))
    files = [bench.directory / f"pids.{rank}" for rank in range(ranks)]
    bench.until(lambda: all(file.exists() for file in files))
    pids = [int(pid) for file in files for pid in file.read_text().split()]
    assert len(pids) == 3 * ranks
    assert all(is_alive(pid) for pid in pids)
    return pids


def none_alive(pids: list[int]) -> bool:
    return not any(is_alive(pid) for pid in pids)


def test_sigterm_reaches_the_group_and_a_stubborn_rank_ignores_it(plain_bench: Bench) -> None:
    pids = start_stubborn(plain_bench, 1)
    plain_bench.launcher.signal(signal.SIGTERM)
    plain_bench.until(lambda: not is_alive(pids[1]))  # its child, which does not ignore
    assert is_alive(pids[0])
    plain_bench.launcher.signal(signal.SIGKILL, [0])
    plain_bench.until(lambda: 0 in plain_bench.exited)
    assert plain_bench.exited[0].exit_code == -9


def test_a_signal_right_after_the_start_is_not_lost(plain_bench: Bench) -> None:
    plain_bench.write("script.py", "import time\ntime.sleep(600)")
    ranks = [plain_bench.rank(SCRIPT, rank) for rank in range(8)]
    plain_bench.launcher.start(ranks)
    plain_bench.launcher.signal(signal.SIGTERM)
    plain_bench.until(lambda: len(plain_bench.exited) == 8)
    assert {event.exit_code for event in plain_bench.exited.values()} == {-15}


def test_clear_leaves_nothing_and_then_says_so(plain_bench: Bench) -> None:
    pids = start_stubborn(plain_bench)
    plain_bench.clear()
    assert none_alive(pids)
    assert set(plain_bench.exited) == {0, 1}
    assert plain_bench.script("print('next generation')") == 0


def test_clear_ends_what_a_rank_left_behind(plain_bench: Bench) -> None:
    assert plain_bench.script("import subprocess\nprint(subprocess.Popen(['sleep', '600']).pid)") == 0
    left = int(plain_bench.out())
    assert is_alive(left)  # as under torchrun, until the generation ends
    plain_bench.clear()
    assert not is_alive(left)


def test_closing_the_connection_ends_everything(plain_bench: Bench) -> None:
    pids = start_stubborn(plain_bench)
    plain_bench.launcher.close()
    assert none_alive(pids)


AGENT = """
import sys, json, time
from opengrid.core.codec import from_json
from opengrid.node.preload.client import TemplateSpec, connect_launcher
from opengrid.node.preload.messages import RankStart
spec, *ranks = json.load(sys.stdin)
launcher = connect_launcher(from_json(TemplateSpec, spec))
launcher.start([from_json(RankStart, rank) for rank in ranks])
print("started", flush=True)
time.sleep(600)
"""


def test_a_killed_agent_leaves_nothing(plain_spec: TemplateSpec, plain_bench: Bench) -> None:
    plain_bench.write("script.py", STUBBORN)
    ranks = [plain_bench.rank(SCRIPT, rank) for rank in range(2)]
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert agent.stdin is not None
    agent.stdin.write(json.dumps([to_json(plain_spec), *map(to_json, ranks)]).encode())
    agent.stdin.close()
    files = [plain_bench.directory / f"pids.{rank}" for rank in range(2)]
    wait_until(lambda: all(file.exists() for file in files), "ranks up")
    pids = [int(pid) for file in files for pid in file.read_text().split()]
    agent.kill()
    agent.wait()
    wait_until(lambda: none_alive(pids), "everything dead")


def test_a_killed_launcher_leaves_nothing_and_is_told(plain_bench: Bench) -> None:
    pids = start_stubborn(plain_bench)
    os.kill(plain_bench.launcher.ready.pid, signal.SIGKILL)
    wait_until(lambda: none_alive(pids), "everything dead")
    plain_bench.until(lambda: plain_bench.seen[-1:] == [LauncherLost()])


def test_template_and_launcher_ignore_the_signals_of_a_terminal(plain_bench: Bench) -> None:
    for pid in (plain_bench.launcher.ready.pid, plain_bench.launcher.ready.template):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
    assert plain_bench.script("print('fine')") == 0


def test_ranks_outlive_their_template_and_the_next_start_makes_another(
    zipapp_path: Path, run_directory: str, tmp_path: Path
) -> None:
    spec = TemplateSpec(python=sys.executable, program=str(zipapp_path), preload=("colorsys",), directory=run_directory)
    bench = Bench(connect_launcher(spec), tmp_path)
    bench.write(
        "script.py",
        "import sys\nprint('up')\nimport time\nwhile not __import__('os').path.exists('go'): time.sleep(0.01)",
    )
    bench.start(bench.rank(SCRIPT))
    os.kill(bench.launcher.ready.template, signal.SIGKILL)
    wait_until(lambda: not is_alive(bench.launcher.ready.template))
    other = connect_launcher(spec)
    assert other.ready.template != bench.launcher.ready.template
    bench.write("go", "")
    bench.until(lambda: 0 in bench.exited)
    assert bench.exited[0].exit_code == 0
    bench.launcher.close()
    other.close()
    os.kill(other.ready.template, signal.SIGKILL)


@pytest.fixture
def stranger() -> object:
    """A process group that is not ours."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_sweep_kills_recorded_groups_and_no_reused_number(
    stranger: subprocess.Popen[bytes], tmp_path: Path, zipapp_path: Path
) -> None:
    shell = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 600 & echo $!; exec setsid --wait sleep 601"],
        start_new_session=True,
        stdout=subprocess.PIPE,
        env={"GRID_EXPERIMENT_ID": "e"},
    )
    assert shell.stdout is not None
    child = int(shell.stdout.readline())
    ours, theirs = spawn.group_of(shell.pid), spawn.group_of(stranger.pid)
    assert ours is not None
    assert theirs is not None
    reused = spawn.Group(id=theirs.id, start_time=theirs.start_time - 1, boot_id=theirs.boot_id)
    other_boot = spawn.Group(id=theirs.id, start_time=theirs.start_time, boot_id="another")
    spawn.write_groups(tmp_path / "groups", [ours, reused, other_boot])
    assert subprocess.run([sys.executable, str(zipapp_path), "sweep", str(tmp_path / "groups")]).returncode == 0
    assert shell.wait() != 0  # killed, or ended because what it waits for was killed first
    assert stranger.poll() is None
    wait_until(lambda: not is_alive(child))


def test_a_sweep_finds_members_whose_leader_is_gone(tmp_path: Path) -> None:
    shell = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 600 & echo $!; read x"],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        env={"GRID_EXPERIMENT_ID": "e"},
    )
    assert shell.stdout is not None
    child = int(shell.stdout.readline())
    group = spawn.group_of(shell.pid)
    assert group is not None
    shell.kill()
    shell.wait()
    assert is_alive(child)
    assert spawn.sweep([group]) == set()
    wait_until(lambda: not is_alive(child))
