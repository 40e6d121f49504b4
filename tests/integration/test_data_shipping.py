"""services.data_shipping: machines get the files of what their run mounts, and of nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tests.support.records import T0, make_attempt, make_experiments, make_machines, make_run

from opengrid.blobs.folder import FolderBlobs
from opengrid.core.errors import Forbidden, GridError, NotFound
from opengrid.core.mounts import Mount
from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.data_shipping import DataShipping
from opengrid.services.datastores import Datastores
from opengrid.services.run_data import RunData
from opengrid.services.trees import Trees
from opengrid.store.database import Database


@pytest.fixture
def agent() -> AgentIdentity:
    return AgentIdentity(attempt_id="r-brave-ottere0-1", machine=0)


@pytest.fixture
def shipping(tmp_path: Path, agent: AgentIdentity) -> DataShipping:
    database = Database.open(f"sqlite:///{tmp_path / 'grid.db'}")
    run = make_run()
    mount = Mount(name="stl10", version=2, path="/d", source="/d", is_bound=False)
    run = dataclasses.replace(run, plan=dataclasses.replace(run.plan, mounts=(mount,)))
    (experiment,) = make_experiments(run)
    attempt = dataclasses.replace(make_attempt(experiment), id=agent.attempt_id)
    with database.transaction() as tx:
        tx.runs.create(run, [experiment], T0)
        tx.attempts.create(attempt, make_machines(attempt))
        for _ in (1, 2):
            tx.data.next_version("stl10", "ada", "/d", T0)
    for version in (1, 2):
        (tmp_path / "stl10" / str(version)).mkdir(parents=True)
        (tmp_path / "stl10" / str(version) / "train.bin").write_text(f"version {version}")
    contents = FolderBlobs(tmp_path / ".contents")
    trees = Trees(tmp_path, contents, has_mounts=lambda: False)
    datastores = Datastores(database, tmp_path, contents, trees)
    data = RunData(database, datastores, contents, trees, has_mounts=lambda: False, now_us=lambda: T0)
    return DataShipping(database, data)


def test_a_machine_gets_what_its_run_mounts(shipping: DataShipping, agent: AgentIdentity) -> None:
    assert shipping.content(agent, "stl10", 2, "train.bin").read_text() == "version 2"
    assert shipping.files(agent, "stl10", 2, offset=0, limit=10).total == 0  # the store knows of none in this test
    with pytest.raises(NotFound):
        shipping.content(agent, "stl10", 2, "other.bin")


def test_other_versions_and_other_files_of_the_server_are_refused(shipping: DataShipping, agent: AgentIdentity) -> None:
    with pytest.raises(Forbidden):
        shipping.content(agent, "stl10", 1, "train.bin")
    with pytest.raises(Forbidden):
        shipping.files(agent, "stl10", 1, offset=0, limit=10)
    with pytest.raises(GridError):
        shipping.content(agent, "stl10", 2, "../1/train.bin")
