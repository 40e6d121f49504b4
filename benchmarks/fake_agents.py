"""1,000 fake agents against one real server: requests a second in rest, and how fast a change reaches a waiting poll.

    python -m benchmarks.fake_agents [--agents 1000] [--rest_s 30]

The agents are connections of one asyncio process. They speak the real protocol to a real server process; the store is
filled beforehand with attempts that wait for them, and each attempt is stopped over the user API to see when its agents
hear of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.support import median, print_rows, server_process
from opengrid.core.gang import Gang, Node, Plan
from opengrid.core.protocol import PROTOCOL
from opengrid.core.records.attempts import Attempt, AttemptMachine, AttemptState, GenerationPhase, MachineState
from opengrid.core.records.experiments import Experiment, ExperimentState, Run
from opengrid.core.spec import Program, ProgramKind, RunSpec, Source
from opengrid.core.tokens import attempt_token, new_token, token_hash
from opengrid.store.database import Database

_MACHINES = 8


@dataclass(slots=True)
class Counts:
    """What the agents saw."""

    requests: int = 0
    heard: dict[str, list[float]] = field(default_factory=dict[str, list[float]])  #: by attempt: when agents were told


class Connection:
    """One kept-alive HTTP connection."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    async def open(self) -> None:
        """Connect."""
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)

    async def call(self, method: str, path: str, token: str, body: object = None) -> dict[str, object]:
        """Send a request and return the decoded answer."""
        data = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        self._writer.write(head.encode() + data)
        status = await self._reader.readline()
        length = 0
        while (line := await self._reader.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        answer = json.loads(await self._reader.readexactly(length))
        if b" 20" not in status[:12]:
            raise RuntimeError(f"{method} {path}: {status!r} {answer}")
        return answer


def fill(state: Path, attempts: int) -> list[str]:
    """Put runs with one submitted attempt each into a new store; return the attempts' ids."""
    gang = Gang(nodes=tuple(Node(index=i, machine=i, gpus=1, cpus=2, ranks=1) for i in range(_MACHINES)))
    plan = Plan(
        gang=gang, instance_type="1_v100_16gb", gpus=_MACHINES, experiments=1, simulated=True, price_per_hour=0.0,
        python=None, source="", reason="",
    )  # fmt: skip
    bundle = "0" * 64
    (state / "blobs" / "00").mkdir(parents=True)
    (state / "blobs" / "00" / bundle).touch()
    spec = RunSpec(program=Program(kind=ProgramKind.EXECUTABLE, target="x"), source=Source(bundle=bundle, root="/"))
    now, secret = time.time_ns() // 1000, (state / "secret").read_text()
    database = Database.open(f"sqlite:///{state / 'grid.db'}")
    ids: list[str] = []
    with database.transaction() as tx:
        for number in range(attempts):
            run = Run(id=f"r{number}", name=f"fake-{number}", user="bench", spec=spec, plan=plan, created_us=now)
            experiment = Experiment(
                id=f"r{number}e0", run_id=run.id, index=0, name=f"fake-{number}-exp0", arguments=(), typed=(),
                params={}, state=ExperimentState.QUEUED, version=0, reason="", exit_code=None, root_cause=None,
                stop_requested=None, created_us=now, started_us=None, ended_us=None,
            )  # fmt: skip
            tx.runs.create(run, [experiment], now)
            tx.runs.move(experiment, ExperimentState.PENDING, reason="", now_us=now)
            attempt = Attempt(
                id=f"r{number}e0-1", experiment_id=experiment.id, number=1, state=AttemptState.CREATED, version=1,
                generation=0, phase=GenerationPhase.PREPARING, store_address=None, store_port=None, outcome=None,
                token_hash=token_hash(attempt_token(secret, f"r{number}e0-1")),
                reason="", token_expires_us=now + 600_000_000, created_us=now,
            )  # fmt: skip
            machines = [
                AttemptMachine(attempt_id=attempt.id, index=i, state=MachineState.WAITING, devices=((),))
                for i in range(_MACHINES)
            ]
            tx.attempts.create(attempt, machines)
            tx.attempts.move(attempt, now_us=now, to=AttemptState.SUBMITTED)
            ids.append(attempt.id)
    database.close()
    return ids


def pretend_alive(folder: Path, attempts: list[str]) -> None:
    """Write the lock files by which the local engine knows agents: all of them are this process."""
    folder.mkdir(parents=True)
    start_time = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for attempt in attempts:
        for machine in range(_MACHINES):
            document = {"pid": os.getpid(), "start_time": start_time, "boot_id": boot_id}
            (folder / f"{attempt}-{machine}.lock").write_text(json.dumps(document))


async def agent(attempt: str, machine: int, secret: str, host: str, port: int, counts: Counts) -> None:
    """Say hello, then poll until told to stop."""
    connection = Connection(host, port)
    await connection.open()
    session = new_token()
    hello = {
        "protocol": PROTOCOL, "attempt_id": attempt, "machine": machine, "session": session, "hostname": "fake",
        "address": "127.0.0.1", "pid": os.getpid(), "boot_id": "", "now_ns": time.time_ns(),
    }  # fmt: skip
    await connection.call("POST", "/agent/v1/hello", attempt_token(secret, attempt), hello)
    version = 0
    while True:
        desired = await connection.call("GET", f"/agent/v1/desired?version={version}", session)
        counts.requests += 1
        version = int(str(desired["version"]))
        if desired["phase"] == "released":
            counts.heard[attempt].append(time.monotonic())
            return


async def measure(state: Path, url: str, token: str, attempts: list[str], rest_s: float) -> None:
    """Connect all agents, count requests in rest, then stop the attempts one by one."""
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 0
    counts = Counts(heard={attempt: [] for attempt in attempts})
    secret = (state / "secret").read_text()
    agents = [
        asyncio.create_task(agent(attempt, machine, secret, host, port, counts))
        for attempt in attempts
        for machine in range(_MACHINES)
    ]
    await asyncio.sleep(10)  # hellos, and the moves that follow
    before = counts.requests
    await asyncio.sleep(rest_s)
    rate = (counts.requests - before) / rest_s
    user = Connection(host, port)
    await user.open()
    delays: list[float] = []
    for attempt in attempts:
        started = time.monotonic()
        name = attempt.removesuffix("e0-1").replace("r", "fake-", 1)
        await user.call("POST", "/api/v1/stop", token, {"kind": "run", "names": [name]})
        while len(counts.heard[attempt]) < _MACHINES:
            await asyncio.sleep(0.002)
        delays += [heard - started for heard in counts.heard[attempt]]
    for task in agents:
        task.cancel()
    delays.sort()
    print_rows(
        [
            ("agents", str(len(agents))),
            ("requests/s in rest", f"{rate:.0f}"),
            ("stop asked → agent told, p50", f"{median(delays) * 1000:.0f} ms"),
            ("stop asked → agent told, p99", f"{delays[int(len(delays) * 0.99)] * 1000:.0f} ms"),
        ]
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--rest_s", type=float, default=30.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="og-") as folder:
        state = Path(folder)
        (state / "secret").write_text(new_token())
        attempts = fill(state, options.agents // _MACHINES)
        pretend_alive(state / "agents", attempts)
        with server_process(state) as url:
            asyncio.run(measure(state, url, (state / "token").read_text(), attempts, options.rest_s))


if __name__ == "__main__":
    main()
