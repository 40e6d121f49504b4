"""Arranges agents for tests: a bundle, assignments, real agent processes, and what they leave."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from opengrid.core.codec import to_json
from opengrid.core.gang import Gang, Node
from opengrid.core.protocol import Assignment, Ended, Packages, Phase, Prepared, Released, Started, Ticket
from opengrid.core.spec import Framework, Program, ProgramKind
from opengrid.server.zipapp import Zipapp
from tests.support.bundles import bundle_of
from tests.support.gang_server import DEADLINE_S, GangServer


@pytest.fixture(scope="session")
def agent_zipapp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zipapp that the server would hand out."""
    return Zipapp(tmp_path_factory.mktemp("agent")).path()


class AgentBench:
    """Agents of one attempt and the server that they talk to."""

    def __init__(self, folder: Path, zipapp: Path, templates: str) -> None:
        self.folder, self._zipapp, self._templates = folder, zipapp, templates
        self.server = GangServer(folder)
        self.agents: dict[int, subprocess.Popen[bytes]] = {}
        self.options: list[str] = []

    def assign(
        self,
        script: str,
        *arguments: str,
        ranks: tuple[int, ...] = (1,),
        framework: Framework = Framework.TENSORFLOW,
        kind: ProgramKind = ProgramKind.SCRIPT,
        target: str = "script.py",
        preload: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        shares_disk: bool = True,
        collects: bool = False,
        simulated: bool = True,
        nodes: int = 1,
        packages: Packages | None = None,
        work: Path | None = None,
        least_free: int = 0,
    ) -> None:
        """Make the assignments: one simulated machine for each number in `ranks`, with so many nodes of as many."""
        content = bundle_of({target: textwrap.dedent(script).encode(), "pkg/data.txt": b"data"})
        digest = hashlib.sha256(content).hexdigest()
        self.server.blobs[digest] = content
        bundle = self.folder / "bundle.tar"
        bundle.write_bytes(content)
        machines = [machine for machine in range(len(ranks)) for _ in range(nodes)]
        gang = Gang(
            nodes=tuple(Node(index=i, machine=m, gpus=1, cpus=2, ranks=ranks[m]) for i, m in enumerate(machines))
        )
        for machine in range(len(ranks)):
            staging = self.folder / f"staging-{machine}"
            staging.mkdir()
            self.server.add(
                Assignment(
                    experiment_id="e1",
                    experiment="brave-otter-1-exp0",
                    run="brave-otter-1",
                    attempt=1,
                    machine=machine,
                    user="me",
                    cluster="local",
                    instance_type="4_v100_16gb",
                    simulated=simulated,
                    framework=framework,
                    program=Program(kind=kind, target=target, arguments=arguments),
                    python=sys.executable,
                    gang=gang,
                    devices=((),) * nodes,
                    environment={"PATH": os.environ["PATH"], "HOME": str(self.folder), **(environment or {})},
                    user_set=tuple(environment or ()),
                    bundle=digest,
                    bundle_path=str(bundle) if shares_disk else None,
                    directory=".",
                    work_dir=str(work or self.folder / "work"),
                    data_cache=str(work.with_name("cache")) if work is not None else None,
                    least_free=least_free,
                    preload=preload,
                    now_ns=0,
                    collects=collects,
                    staging=str(staging) if shares_disk else None,
                    packages=packages,
                )
            )

    def start(self) -> None:
        """Start the server and all agents."""
        self.server.start()
        for machine in self.server.assignments:
            self.start_agent(machine)

    def start_agent(self, machine: int = 0, *, token: str | None = None) -> subprocess.Popen[bytes]:
        """Start one agent, as the local engine does."""
        ticket = self.ticket(machine)
        ticket.parent.mkdir(exist_ok=True)
        value = Ticket(
            attempt_id="e1-1",
            machine=machine,
            token=token or self.server.token,
            server_file=str(self.server.server_file),
            state_dir=str(self.folder / "agents"),
        )
        ticket.write_text(json.dumps(to_json(value)))
        ticket.chmod(0o600)
        with (self.folder / f"agent-{machine}.log").open("ab") as log:
            agent = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", str(self._zipapp), "agent", str(ticket)),
                    *("--templates", self._templates, "--template_idle_s", "20", *self.options),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
                start_new_session=True,
            )
        self.agents.setdefault(machine, agent)
        return agent

    def ticket(self, machine: int = 0) -> Path:
        return self.folder / "agents" / f"e1-1-{machine}.ticket"

    def prepare(self, generation: int = 1) -> int | None:
        """Have all machines prepare a generation; return machine 0's port."""
        server = self.server
        server.tell(generation, Phase.PREPARE)
        server.until(
            lambda: all(
                any(fact.generation == generation for fact in server.of(Prepared, machine))
                for machine in server.assignments
            ),
            "prepared",
        )
        return server.of(Prepared, 0)[-1].store_port

    def run(self, generation: int = 1) -> None:
        """Have all machines prepare and start a generation's ranks."""
        server, port = self.server, self.prepare(generation)
        server.tell(generation, Phase.RUN, store_address="127.0.0.1", store_port=port)
        server.until(lambda: len(self.told(Started, generation)) == len(server.assignments), "started")

    def told(self, kind: type[Started] | type[Ended] | type[Prepared], generation: int) -> list[object]:
        return [fact for fact in self.server.of(kind) if fact.generation == generation]

    def until_ended(self, generation: int = 1) -> None:
        """Wait until no rank is left on any machine."""
        self.server.until(lambda: len(self.told(Ended, generation)) == len(self.server.assignments), "ended")

    def release(self, generation: int = 1) -> None:
        """Release all machines and wait until their agents have ended."""
        self.server.tell(generation, Phase.RELEASED)
        self.server.until(lambda: len(self.server.of(Released)) == len(self.server.assignments), "released")
        for agent in self.agents.values():
            assert agent.wait(DEADLINE_S) == 0

    def wait_for_log(self, text: bytes, rank: int = 0, *, machine: int = 0, generation: int = 1) -> None:
        """Wait until a rank's output has arrived."""
        self.server.until(
            lambda: text in self.server.text(rank, machine=machine, generation=generation), f"{text!r} in the log"
        )

    def close(self) -> None:
        """End what a failed test has left."""
        for agent in self.agents.values():
            if agent.poll() is None:
                agent.kill()
                agent.wait()
        self.server.kill()

    def agent_log(self, machine: int = 0) -> str:
        return (self.folder / f"agent-{machine}.log").read_text()


@pytest.fixture
def bench(tmp_path: Path, agent_zipapp: Path, run_directory: str) -> Iterator[AgentBench]:
    """Agents and their server, not started."""
    bench = AgentBench(tmp_path, agent_zipapp, run_directory)
    yield bench
    bench.close()
    for machine in bench.agents:
        print(f"--- agent {machine}\n{bench.agent_log(machine)}")
