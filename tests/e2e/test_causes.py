"""Planted failures on 2 machines with 4 ranks each: which rank is named, what is said of it, and what to do."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import missing
from tests.support.grid import Grid

#: Of every run here.
OPTIONS = ("--gpus", "8", "--instance_type", "4_v100_16gb", "--max_restarts", "0")

#: Some experiments only wait for a time-out; more at once would crowd two processors.
PARALLEL = ("--parallel", "3")

#: The rank that fails, unless a failure is everybody's.
CULPRIT = 5

SCRIPT = """
import argparse, atexit, datetime, os, signal, socket, sys, time
import torch, torch.distributed as dist

parser = argparse.ArgumentParser()
parser.add_argument("--failure")
failure = parser.parse_args().failure
is_culprit = int(os.environ["RANK"]) == 5


def meet(seconds=60):
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=seconds))
    print("met", flush=True)


def train(steps=1):
    for step in range(steps):
        dist.all_reduce(torch.ones(1))
    print("trained", steps, flush=True)


class Deadly(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def fail():
    if failure == "exception":
        raise ValueError("bad lr 0.1")
    if failure == "exit":
        sys.exit(3)
    if failure == "leaving":  # with its connections closed, and slowly
        atexit.register(time.sleep, 600)
        try:
            raise ValueError("bad lr 0.1")
        finally:
            dist.destroy_process_group()
    if failure == "caught":
        try:
            raise ValueError("bad lr 0.1")
        except ValueError:
            sys.exit(3)
    if failure == "crash":
        import ctypes
        ctypes.string_at(0)
    if failure == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if failure == "cuda-memory":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.2 GiB")
    if failure == "module":
        import nosuch
    if failure == "file":
        open("no/such.yaml")
    if failure == "disk":
        with open("/dev/full", "w") as file:
            file.write("x")
    if failure == "checkpoint":
        with open("broken.pt", "wb") as file:
            file.write(b"version https://git-lfs.github.com/spec/v1")
        torch.load("broken.pt")
    if failure == "pickle":
        import pickle
        pickle.loads(pickle.dumps(list(range(100)))[:50])
    if failure == "port":
        first, second = socket.socket(), socket.socket()
        first.bind(("127.0.0.1", 0))
        first.listen()
        second.bind(first.getsockname())
    if failure == "name":
        os.environ["RES_OPTIONS"] = "timeout:1 attempts:1"
        socket.create_connection(("no-such-host.invalid", 80))
    if failure == "input":
        input("go on? ")
    if failure == "pdb":
        breakpoint()
    if failure == "loader":
        next(iter(torch.utils.data.DataLoader(Deadly(), num_workers=1)))


if failure == "everywhere":
    meet()
    train()
    raise ValueError("bad data")
elif failure == "early":
    meet(seconds=3)
    train(steps=2 if is_culprit else 3)
elif failure == "hang":
    meet(seconds=3)
    if is_culprit:
        time.sleep(600)
    train()
elif failure == "never":
    if is_culprit:
        time.sleep(600)
    meet(seconds=3)
elif failure == "never-ended":
    if not is_culprit:
        meet(seconds=3)
elif failure == "interface":
    if is_culprit:
        os.environ["GLOO_SOCKET_IFNAME"] = "nosuch0"
    meet()
elif failure == "unreachable":
    if is_culprit:
        os.environ["MASTER_PORT"] = "1"
    meet(seconds=1 if is_culprit else 60)
elif failure == "memory":
    meet()
    if is_culprit:
        with open(os.environ["SMALL_CGROUP"] + "/cgroup.procs", "w") as file:
            file.write(str(os.getpid()))
        grown = [bytearray(1 << 20) for _ in range(1000)]
    train()
else:
    meet()
    if is_culprit:
        fail()
    train()
"""

LIGHTNING = """
import argparse
from lightning.pytorch import LightningModule, Trainer

parser = argparse.ArgumentParser()
parser.add_argument("--failure")
if parser.parse_args().failure == "world-size":
    Trainer(devices=8, num_nodes=2, logger=False).fit(LightningModule())
else:
    Trainer(accelerator="gpu")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the root cause of a failure must hold."""

    cause: tuple[str, ...]  #: all of them in this order
    hint: str | None
    rank: int | None = CULPRIT  #: None: any
    exit_code: int | None = 1  #: of the rank
    signal: str | None = None
    log: str = "most recent call last"


FAILURES = {
    "exception": Told(cause=("failed: ValueError: bad lr 0.1 (causes.py:", " in fail)"), hint=None),
    "exit": Told(cause=("exited with code 3 (causes.py:", " in fail)"), hint=None, exit_code=3),
    "crash": Told(
        cause=("was killed by SIGSEGV (causes.py:", " in fail)"),
        hint="compiled library",
        exit_code=-11,
        signal="SIGSEGV",
        log="Segmentation fault",
    ),
    "killed": Told(cause=("was killed by SIGKILL",), hint="dmesg", exit_code=-9, signal="SIGKILL", log="met"),
    "cuda-memory": Told(cause=("OutOfMemoryError: CUDA out of memory",), hint="smaller batch per rank"),
    "module": Told(cause=("ModuleNotFoundError: No module named 'nosuch'",), hint="does not have nosuch"),
    "file": Told(cause=("FileNotFoundError: ", "'no/such.yaml'"), hint="no/such.yaml is not in the tree"),
    "disk": Told(cause=("No space left on device",), hint="disk is full"),
    "checkpoint": Told(cause=("UnpicklingError",), hint="damaged, cut off"),
    "port": Told(cause=("Address already in use",), hint="MASTER_PORT as they are set"),
    "name": Told(cause=("gaierror: ",), hint="does not find a host by its name"),
    "input": Told(cause=("EOFError: EOF when reading a line",), hint="no keyboard"),
    "loader": Told(cause=("RuntimeError: DataLoader worker (pid",), hint="num_workers=0"),
    "everywhere": Told(cause=("failed: ValueError: bad data", "failed alike"), hint=None, rank=None),
    "early": Told(cause=("left early: it exited with code 0",), hint="same steps", exit_code=0, log=""),
    "hang": Told(cause=("did not take part", "(causes.py:"), hint="skipped a collective", exit_code=None, log="met"),
    "never": Told(cause=("never joined: ", "(causes.py:"), hint="must call init_process_group", exit_code=None, log=""),
    "unreachable": Told(cause=("The client socket has ", "trying to connect"), hint="MASTER_PORT as they are set"),
}

#: Failures of the same kinds that come about in other ways.
MORE_FAILURES = {
    "leaving": Told(cause=("failed: ValueError: bad lr 0.1 (causes.py:", " in fail)"), hint=None),
    "caught": Told(cause=("failed: ValueError: bad lr 0.1 (causes.py:",), hint=None, exit_code=3),
    "pickle": Told(cause=("UnpicklingError: pickle data was truncated",), hint="damaged, cut off"),
    "interface": Told(cause=("Unable to find address for: nosuch0",), hint="no network interface nosuch0"),
    "pdb": Told(cause=("BdbQuit",), hint="no keyboard"),
    "never-ended": Told(cause=("left early: it exited with code 0",), hint="same steps", exit_code=0, log=""),
}

OF_LIGHTNING = {
    "world-size": Told(
        cause=("`devices=8` and `num_nodes=2`", "world size (8)", "alike"),
        hint="devices=4, num_nodes=2",
        rank=None,
    ),
    "accelerator": Told(cause=("No supported gpu backend found",), hint="this rank has no GPU", rank=None),
}


def start(grid: Grid, folder: Path, framework: str, script: str, failures: list[str]) -> dict[str, str]:
    """Start one run with an experiment for every failure; return their names."""
    (folder / "causes.py").write_text(script)
    listed = json.dumps(failures).replace('"', "'")
    submitted = ("run", "--detach", *OPTIONS, *PARALLEL, "--framework", framework, "causes.py", "--failure", listed)
    return dict(zip(failures, grid.json(*submitted, cwd=folder)["experiments"], strict=True))


@pytest.fixture(scope="module")
def planted(grid: Grid, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return start(grid, tmp_path_factory.mktemp("torch"), "torch", SCRIPT, list(FAILURES))


@pytest.fixture(scope="module")
def more_planted(grid: Grid, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return start(grid, tmp_path_factory.mktemp("torch"), "torch", SCRIPT, list(MORE_FAILURES))


@pytest.fixture(scope="module")
def planted_in_lightning(grid: Grid, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    if importlib.util.find_spec("lightning") is None:
        missing("lightning", "it is not installed")
    return start(grid, tmp_path_factory.mktemp("lightning"), "lightning", LIGHTNING, list(OF_LIGHTNING))


def check(experiment: dict[str, Any], told: Told) -> None:
    assert experiment["state"] == "failed"
    assert experiment["exit_code"] != 0
    found = experiment["root_cause"]
    assert told.rank in (None, found["rank"]), found
    assert (found["exit_code"], found["signal"]) == (told.exit_code, told.signal), found
    rest: str = found["cause"]
    for words in told.cause:
        _, met, rest = rest.partition(words)
        assert met, (words, found)
    assert told.hint in found["hint"] if told.hint is not None else found["hint"] is None, found
    assert told.log in found["log_tail"]
    assert found["rank"] not in found["victims"]
    assert found["memory"]["available_mib"] > 0
    assert found["memory"]["peak_mib"] > 0


@pytest.mark.parametrize("failure", list(FAILURES))
def test_a_failure_names_its_rank_and_its_cause(grid: Grid, planted: dict[str, str], failure: str) -> None:
    check(grid.ended(planted[failure]), FAILURES[failure])


@pytest.mark.full
@pytest.mark.parametrize("failure", list(MORE_FAILURES))
def test_a_failure_that_comes_about_in_another_way_does_too(
    grid: Grid, more_planted: dict[str, str], failure: str
) -> None:
    check(grid.ended(more_planted[failure]), MORE_FAILURES[failure])


def test_why_and_the_end_of_the_log_tell_the_same(grid: Grid, planted: dict[str, str]) -> None:
    name = planted["exception"]
    cause = grid.ended(name)["root_cause"]["cause"]
    card = grid.ok("why", name)
    assert card in grid.ok("status", name)
    assert f"first failing rank: {CULPRIT} (node 1, machine 1)" in card
    assert "ranks 0-4, 6-7 followed" in card
    assert grid.json("why", name)["root_cause"]["cause"] == cause
    said = grid.call("logs", name).err
    assert cause in said
    assert f"grid why {name}" in said


@pytest.mark.parametrize("failure", list(OF_LIGHTNING))
def test_a_failure_of_lightnings_trainer_says_what_fits(
    grid: Grid, planted_in_lightning: dict[str, str], failure: str
) -> None:
    check(grid.ended(planted_in_lightning[failure]), OF_LIGHTNING[failure])


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """A memory cgroup that holds 64 MiB."""
    root = Path("/sys/fs/cgroup")
    is_first_version = (root / "memory/cgroup.procs").exists()
    group = (root / "memory" if is_first_version else root) / f"opengrid-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        missing("cgroup", f"no memory cgroup can be made: {error}")
    try:
        (group / ("memory.limit_in_bytes" if is_first_version else "memory.max")).write_text(str(64 << 20))
        yield group
    except OSError as error:
        missing("cgroup", f"no memory cgroup can be limited: {error}")
    finally:
        group.rmdir()


# Last: the kernel's count of kills is the host's, and would be taken for evidence about "killed" above.
def test_a_rank_that_the_kernel_killed_for_want_of_memory_is_told_so(
    grid: Grid, folder: Path, small_cgroup: Path
) -> None:
    (folder / "causes.py").write_text(SCRIPT)
    where = ("--framework", "torch", "--env", f"SMALL_CGROUP={small_cgroup}")
    experiment = grid.finish(*OPTIONS, *where, "causes.py", "--failure", "memory", cwd=folder)
    told = Told(
        cause=("was killed by the kernel's out-of-memory killer",),
        hint="had no memory left",
        exit_code=-9,
        signal="SIGKILL",
        log="met",
    )
    check(experiment, told)
    assert experiment["root_cause"]["memory"]["peak_mib"] >= 64
