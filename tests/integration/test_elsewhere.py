"""services.agents: what an agent on another computer is told, where nothing of the server's computer is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from tests.support.records import T0, make_attempt, make_experiments, make_machines, make_run, make_spec

from opengrid.blobs.folder import FolderBlobs
from opengrid.core.errors import DataChanged, GridError, InvalidValue, Unusable
from opengrid.core.mounts import Mount, seen_elsewhere
from opengrid.core.protocol import PROTOCOL, Assignment, Hello, Packages
from opengrid.core.records.attempts import AttemptState, MachineState
from opengrid.core.records.clusters import Cluster
from opengrid.core.records.experiments import Run
from opengrid.core.spec import Actions, Dependencies, Program, ProgramKind, RunSpec
from opengrid.core.tokens import token_hash
from opengrid.services.agents import Agents
from opengrid.services.assignments import Assignments
from opengrid.store.database import Database

LAB = Cluster(
    name="lab", engine="ray", address="http://head:8265", possible={}, work_dir="/scratch", python=None, user="ada",
    created_us=T0,
)  # fmt: skip


NEEDED = Dependencies(file="requirements.txt", requirements=("einops",), constraints=("numpy<3",))


def assignment_of(folder: Path, cluster: str, spec: RunSpec | None = None, **told: bool) -> Assignment:
    agents, hello, _ = lab_with(folder, cluster, spec)
    return agents.hello(dataclasses.replace(hello, **told), "t")


def lab_with(
    folder: Path,
    cluster: str,
    spec: RunSpec | None = None,
    check_mounts: Callable[[Sequence[Mount], str], None] = lambda mounts, attempt_id: None,
    secrets_of: Callable[[Run], Mapping[str, str]] = lambda _: {"API_KEY": "s3cr3t"},
) -> tuple[Agents, Hello, Database]:
    """Return a server with one run on a cluster, and what the agent of its first machine says."""
    database = Database.open(f"sqlite:///{folder / 'grid.db'}")
    (folder / "blobs" / "ab").mkdir(parents=True)
    (folder / "blobs" / "ab" / ("ab" * 32)).touch()
    mount = Mount(name="stl10", version=2, path="/datastores/stl10", source="/srv/stl10/2", is_bound=True)
    mounts = (mount if cluster == "local" else seen_elsewhere(mount, LAB.work_dir),)
    run = make_run()
    plan = dataclasses.replace(run.plan, cluster=cluster, mounts=mounts, simulated=False)
    run = dataclasses.replace(run, plan=plan, spec=spec or make_spec(environment={"LR": "0.1"}))
    (experiment,) = make_experiments(run)
    attempt = make_attempt(
        experiment,
        cluster=cluster,
        state=AttemptState.SUBMITTED,
        token_hash=token_hash("t"),
        token_expires_us=T0 + 9,
    )
    machines = [dataclasses.replace(machine, devices=((),)) for machine in make_machines(attempt)]
    with database.transaction() as tx:
        tx.clusters.add(LAB)
        tx.runs.create(run, [experiment], T0)
        tx.attempts.create(attempt, machines)
    agents = Agents(
        database,
        Assignments(
            FolderBlobs(folder / "blobs"),
            work=folder / "work",
            secrets_of=secrets_of,
            staging=lambda attempt, machine: folder / "staging",
            least_free=5 << 30,
            check_mounts=check_mounts,
        ),
        changed=lambda _: None,
        is_followed=lambda _: False,
        now_us=lambda: T0,
    )
    hello = Hello(
        protocol=PROTOCOL, attempt_id=attempt.id, machine=0, session="s", hostname="n1", address="10.0.0.2", pid=1,
        boot_id="b", now_ns=0, devices=("0", "1", "2", "3"),
    )  # fmt: skip
    return agents, hello, database


def test_nothing_of_the_servers_computer_is_named_to_another(tmp_path: Path) -> None:
    told = assignment_of(tmp_path, "lab")
    assert (told.bundle_path, told.staging, told.salvage, told.overlay) == (None, None, None, None)
    assert told.work_dir == f"/scratch/{told.experiment}/1"
    assert str(tmp_path) not in repr(told)


def test_variables_and_secrets_go_along_and_the_users_shell_does_not(tmp_path: Path) -> None:
    told = assignment_of(tmp_path, "lab")
    assert told.environment == {"LR": "0.1", "API_KEY": "s3cr3t"}


def test_packages_are_named_to_the_machine_which_installs_them_itself(tmp_path: Path) -> None:
    told = assignment_of(tmp_path, "lab", make_spec(dependencies=NEEDED))
    assert told.packages == Packages(
        file="requirements.txt", requirements=("einops",), constraints=("numpy<3",), folder="/scratch/packages"
    )


def test_build_actions_go_to_the_machine_with_the_tree_that_they_run_in(tmp_path: Path) -> None:
    actions = Actions(on_build=("a",), on_build_start=("b",), on_build_end=("c",))
    told = assignment_of(tmp_path, "lab", make_spec(actions=actions))
    assert told.packages == Packages(
        file="", requirements=(), before=("a", "b"), after=("c",), needs_the_tree=True, folder="/scratch/packages"
    )


def test_a_program_that_is_no_python_gets_no_packages(tmp_path: Path) -> None:
    program = Program(kind=ProgramKind.EXECUTABLE, target="train.sh")
    assert assignment_of(tmp_path, "lab", make_spec(dependencies=NEEDED, program=program)).packages is None


def test_data_is_fetched_to_the_same_place_on_every_machine(tmp_path: Path) -> None:
    told = assignment_of(tmp_path, "lab")
    assert told.data_cache == "/scratch/data/.contents"
    assert [(m.path, m.source) for m in told.mounts] == [("/datastores/stl10", "/scratch/data/stl10-2")]
    assert told.least_free == 5 << 30


def test_the_gpus_that_the_engine_gave_are_dealt_to_the_nodes(tmp_path: Path) -> None:
    assert assignment_of(tmp_path, "lab").devices == (("0", "1", "2", "3"),)


def test_gpus_that_a_cluster_only_counts_are_stood_in_for_and_the_record_says_so(tmp_path: Path) -> None:
    agents, hello, database = lab_with(tmp_path, "lab")
    told = agents.hello(dataclasses.replace(hello, is_bare=True), "t")
    assert (told.counted, told.simulated, told.devices) == (True, False, (("0", "1", "2", "3"),))
    with database.read() as tx:
        (run,) = tx.runs.list()
        events = [event.reason for event in tx.runs.events(tx.runs.experiments(run.id)[0].id)]
    assert (run.plan.is_simulated, run.plan.devices) == (True, "")
    assert run.plan.bundles[0].gpus == 4  # the cluster still hands them out
    assert "n1 has none of the 4 GPUs that lab counts there: CPU ranks stand in for them (simulated)" in events


def test_a_gang_half_of_whose_gpus_are_there_is_refused(tmp_path: Path) -> None:
    agents, hello, _ = lab_with(tmp_path, "lab")
    assert agents.hello(hello, "t").counted is False
    with pytest.raises(
        InvalidValue, match="n2 counts 4 GPUs and has none, while other machines of the run have theirs"
    ):
        agents.hello(dataclasses.replace(hello, machine=1, session="s2", hostname="n2", is_bare=True), "t")


def test_a_machine_is_not_there_when_its_data_is_not_what_it_was_and_the_reason_is_kept(tmp_path: Path) -> None:
    def refuse(mounts: Sequence[Mount], attempt_id: str) -> None:
        raise DataChanged("datastore stl10:2 is damaged: a", hint="create it again")

    agents, hello, database = lab_with(tmp_path, "lab", check_mounts=refuse)
    with pytest.raises(DataChanged):
        agents.hello(hello, "t")
    with database.read() as tx:
        machine = tx.attempts.machine(hello.attempt_id, 0)
    assert (machine.state, machine.session_hash) == (MachineState.WAITING, None)
    assert machine.broken == "datastore stl10:2 is damaged: a (create it again)"


@pytest.mark.parametrize(
    ("error", "is_retryable"),
    [(Unusable("the secret KEY cannot be opened", hint="set it"), False), (GridError("away", hint="set it"), True)],
)
def test_what_an_agent_cannot_be_given_is_the_reason_for_which_its_machine_is_broken(
    tmp_path: Path, error: GridError, is_retryable: bool
) -> None:
    def refuse(_: Run) -> Mapping[str, str]:
        raise error

    agents, hello, database = lab_with(tmp_path, "lab", secrets_of=refuse)
    with pytest.raises(type(error)):
        agents.hello(hello, "t")
    with database.read() as tx:
        machine = tx.attempts.machine(hello.attempt_id, 0)
    assert (machine.broken, machine.is_retryable) == (f"{error.message} (set it)", is_retryable)
