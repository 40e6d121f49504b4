"""The home of a server that has much to show: runs, a training that goes on, a large log."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import time
from pathlib import Path

from opengrid.core.gang import Gang, Node, Plan
from opengrid.core.names import experiment_name
from opengrid.core.records.attempts import Attempt, AttemptMachine, AttemptState, GenerationPhase, MachineState
from opengrid.core.records.experiments import Experiment, ExperimentState, Run
from opengrid.core.spec import Program, ProgramKind, RunSpec, Source
from opengrid.core.tokens import attempt_token, new_token, token_hash
from opengrid.store.database import Database, Transaction

RUNS = 10_000
LIVE, SERIES, POINTS, TAG = "live", 5, 25_000, "train/m0"
LOGGED, LOG_BYTES = "run-9998-exp0", 1_000_000_000

_RANKS = 4
_BUNDLE = "ab" * 32
_INDEX_EVERY = 1 << 16


def make_home(home: Path) -> None:
    """Fill the store and the folders of a home that has no server yet."""
    secret = new_token()
    (home / "secret").write_text(secret)
    (home / "blobs" / _BUNDLE[:2]).mkdir(parents=True)
    (home / "blobs" / _BUNDLE[:2] / _BUNDLE).touch()
    database = Database.open(f"sqlite:///{home / 'grid.db'}")
    now = time.time_ns() // 1000
    with database.transaction() as tx:
        live = _run(LIVE, now - RUNS * 1_000_000 - 1)
        tx.runs.create(live, _experiments(live, SERIES, ExperimentState.QUEUED), now)
        for experiment in _experiments(live, SERIES, ExperimentState.QUEUED):
            tx.runs.move(experiment, ExperimentState.PENDING, reason="", now_us=now)
            _attempt(tx, experiment, secret, AttemptState.SUBMITTED)
        for number in range(RUNS):
            run = _run(f"run-{number}", now - (RUNS - number) * 1_000_000)
            state = (ExperimentState.SUCCEEDED, ExperimentState.FAILED, ExperimentState.STOPPED)[number % 3]
            experiments = _experiments(run, 1, state)
            tx.runs.create(run, experiments, run.created_us)
            if experiments[0].name == LOGGED:
                _attempt(tx, experiments[0], secret, AttemptState.SUCCEEDED)
    database.close()
    _pretend_alive(home / "agents", [f"live1e{index}-1" for index in range(SERIES)])
    _write_log(home / "logs" / f"{LOGGED.removesuffix('-exp0')}1e0-1" / "1")


def _run(name: str, created_us: int) -> Run:
    gang = Gang(nodes=(Node(index=0, machine=0, gpus=_RANKS, cpus=8, ranks=_RANKS),))
    spec = RunSpec(
        program=Program(kind=ProgramKind.SCRIPT, target="train.py", arguments=("--lr", "0.1")),
        source=Source(bundle=_BUNDLE, root="/train"),
        shell={},
        description="a training among many",
    )
    plan = Plan(
        gang=gang, instance_type="4_v100_16gb", gpus=_RANKS, experiments=1, simulated=True, price_per_hour=12.85,
        python=None, source="", reason="",
    )  # fmt: skip
    return Run(id=f"{name}1", name=name, user="bench", spec=spec, plan=plan, created_us=created_us)


def _experiments(run: Run, number: int, state: ExperimentState) -> list[Experiment]:
    is_over = state.is_terminal
    first = Experiment(
        id="", run_id=run.id, index=0, name="", arguments=("--lr", "0.1"), typed=("--lr", "0.1"), params={"lr": 0.1},
        state=state, version=0, reason="", exit_code=0 if is_over else None, root_cause=None, stop_requested=None,
        created_us=run.created_us, started_us=run.created_us if is_over else None,
        ended_us=run.created_us + 60_000_000 if is_over else None,
    )  # fmt: skip
    return [
        dataclasses.replace(first, id=f"{run.id}e{i}", index=i, name=experiment_name(run.name, i))
        for i in range(number)
    ]


def _attempt(tx: Transaction, experiment: Experiment, secret: str, state: AttemptState) -> None:
    id, now = f"{experiment.id}-1", time.time_ns() // 1000
    attempt = Attempt(
        id=id, experiment_id=experiment.id, number=1, state=state, version=1, generation=0,
        phase=GenerationPhase.PREPARING, store_address=None, store_port=None, outcome=None,
        token_hash=token_hash(attempt_token(secret, id)), reason="", token_expires_us=now + 3_600_000_000,
        created_us=now,
    )  # fmt: skip
    tx.attempts.create(attempt, [AttemptMachine(attempt_id=id, index=0, state=MachineState.WAITING, devices=((),))])


def _pretend_alive(folder: Path, attempts: list[str]) -> None:
    """Write the lock files by which the local engine knows agents: all of them are this process."""
    folder.mkdir(parents=True)
    start_time = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for attempt in attempts:
        document = {"pid": os.getpid(), "start_time": start_time, "boot_id": boot_id}
        (folder / f"{attempt}-0.lock").write_text(json.dumps(document))


def _write_log(folder: Path) -> None:
    """Write the output of all ranks, with the index of times that agents bring; the needle lies after 90 %."""
    folder.mkdir(parents=True)
    line = "rank {} epoch {:>6} batch {:>8} loss=0.1234 lr=0.001 images/s=1234.5 memory=12.3GiB grad_norm=0.98 ok\n"
    for rank in range(_RANKS):
        block = "".join(line.format(rank, i // 100, i) for i in range(10_000)).encode()
        repeats = LOG_BYTES // _RANKS // len(block)
        with (folder / f"{rank}.stdout").open("wb") as log:
            for number in range(repeats):
                log.write(block)
                if rank == 2 and number == repeats * 9 // 10:
                    log.write(b"needle in the haystack\n")
            log.write(b"the last line\n")
            size = log.tell()
        start_ns = 1_700_000_000_000_000_000
        pairs = (struct.pack("<QQ", at, start_ns + at * 1000) for at in range(0, size, _INDEX_EVERY))
        (folder / f"{rank}.stdout.idx").write_bytes(b"".join(pairs))
