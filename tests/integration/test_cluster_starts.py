"""Clusters of hosts: all hosts or none, what is half made is undone, and only what was started is ended."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.fake_boxes import LAB, TOKEN, FakeBoxes, host_clusters
from tests.support.records import T0, make_experiments, make_run

from opengrid.core.codec import to_json
from opengrid.core.errors import Conflict, Forbidden, InvalidValue, NotFound, Unusable
from opengrid.core.records.clusters import Cluster
from opengrid.engines.engine import Engines
from opengrid.planning.catalogue import load_catalogue
from opengrid.planning.fleet import Fleet, FleetMachine
from opengrid.planning.inventory import Interpreter, Inventory
from opengrid.services.callers import Caller
from opengrid.services.cluster_requests import ClusterChanges, NewCluster
from opengrid.services.cluster_starts import ClusterStarts
from opengrid.services.clusters import Clusters
from opengrid.services.documents.clusters import ClusterHost, StartLine
from opengrid.services.documents.errors import ErrorText
from opengrid.store.database import Database
from opengrid.testing import FakeEngine

ADMIN, USER = Caller(name="ada", is_admin=True), Caller(name="bob", is_admin=False)
NEW = NewCluster(name="lab", engine="ray", hosts=("a", "b", "c"), python="~/py/bin/python", install=("torch",))


def launch(boxes: FakeBoxes) -> Cluster:
    made = host_clusters(boxes)
    told: list[tuple[str, str]] = []
    prepared = made.prepare(LAB, lambda host, text: told.append((host, text)))
    assert {host for host, _ in told} == {"a", "b", "c"}
    assert ("b", "another Ray runs there (raylet 7): both will hand out the same GPUs") in told
    return made.launch(LAB, prepared, TOKEN, lambda _, __: None)


def test_the_head_is_the_first_and_the_others_join_it() -> None:
    boxes = FakeBoxes()
    made = launch(boxes)
    assert made.address == "http://10.0.0.97:8265"
    assert made.hosts is not None
    assert made.hosts.addresses == ("10.0.0.97", "10.0.0.98", "10.0.0.99")
    assert next(host for done, host in boxes.orders if done == "start") == "a"


def test_every_host_that_fails_is_named_with_its_reason_and_nothing_is_started() -> None:
    boxes = FakeBoxes()
    boxes.failing = {("prepare", "a"): "no space", ("prepare", "c"): "no Python"}
    with pytest.raises(Unusable, match=r"^a: no space; c: no Python$") as error:
        launch(boxes)
    assert error.value.hint == "look there"
    assert not boxes.did("start")


def test_hosts_that_cannot_be_one_ray_are_refused() -> None:
    boxes = FakeBoxes()
    boxes.about = {"b": {"python": "3.12.1"}}
    with pytest.raises(Unusable, match=r"one version of Ray and Python: a has Ray 2\.60\.0 with Python 3\.11\.7"):
        launch(boxes)
    boxes.about = {"b": {"address": "10.0.0.97"}}
    with pytest.raises(Unusable, match="a and b are one computer"):
        launch(boxes)


def test_a_ray_that_asks_for_no_token_or_that_nodes_do_not_join_is_no_cluster() -> None:
    boxes = FakeBoxes()
    boxes.needs_token = False
    with pytest.raises(Unusable, match=r"a: Ray at http://10\.0\.0\.97:8265 answers without a token"):
        launch(boxes)
    boxes = FakeBoxes()
    boxes.joined = {"10.0.0.97", "10.0.0.98"}
    with pytest.raises(Unusable, match=r"does not see c \(10\.0\.0\.99\)"):
        launch(boxes)


def test_only_hosts_whose_nodes_are_missing_are_asked_how_they_do() -> None:
    boxes = FakeBoxes()
    cluster = launch(boxes)
    looked = host_clusters(boxes).look(cluster, {"10.0.0.97", "10.0.0.99"})
    assert [host.problem for host in looked] == [None, "the computer was restarted", None]
    assert boxes.did("status") == {"b"}


# Added, started and removed while somebody looks on


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder, self.boxes, self.line = folder, FakeBoxes(), ""
        self.database = Database.open(f"sqlite:///{folder / 'grid.db'}")
        python = Interpreter(path="", version="")
        here = Inventory(hostname="here", cpus=4, memory_mib=8000, available_mib=7000)
        self.engines = Engines(FakeEngine(here, python))
        self.made: list[tuple[str, str | None]] = []
        hosts = host_clusters(self.boxes)

        def make(cluster: Cluster, token: str | None) -> FakeEngine:
            self.made.append((cluster.address, token))
            machines = [
                FleetMachine(id=at, address=at, kind="", cpus=8, gpus=4, memory_mib=1)
                for at in sorted(self.boxes.joined)
            ]
            return FakeEngine(Fleet(cluster=cluster.name, machines=tuple(machines)), python)

        self.clusters = Clusters(
            self.database,
            self.engines,
            load_catalogue(),
            make=make,
            greet=self.boxes.greet,
            unreachable=lambda _: None,
            hosts=hosts,
            tokens=folder / "clusters",
            changed=lambda: None,
            now_us=lambda: 7,
        )
        self.starts = ClusterStarts(
            self.database,
            self.clusters,
            hosts,
            notes=folder / "clusters",
            line=lambda: self.line or None,
            check_host=_refuse_dash,
            check_python=lambda _: None,
        )

    def wait(self) -> ErrorText | None:
        """Return how the start ended."""
        deadline = time.monotonic() + 60
        while not (seen := self.starts.progress("lab", 0)).is_over:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return seen.error

    def add(self) -> None:
        self.starts.add(NEW, ADMIN)
        assert self.wait() is None

    @property
    def names(self) -> list[str]:
        return [row.cluster for row in self.clusters.all("ada")]

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "clusters").glob("*"))


def _refuse_dash(host: str) -> None:
    if host.startswith("-"):
        raise InvalidValue(f"{host} is no host")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.database.close()


def test_hosts_become_a_cluster_whose_token_only_this_server_keeps(bench: Bench) -> None:
    bench.add()
    assert bench.names == ["local", "lab"]
    ((address, token),) = bench.made
    assert (address, len(token or "")) == ("http://10.0.0.97:8265", 48)
    kept = bench.folder / "clusters" / "lab.token"
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == (token, 0o600)
    assert bench.files == ["lab.token"]
    assert StartLine(host="b", text="Ray runs at 10.0.0.98") in bench.starts.progress("lab", 0).lines
    assert bench.clusters.show("lab", "ada").hosts == [
        ClusterHost(host=host, address=f"10.0.0.{ord(host)}", problem=None) for host in ("a", "b", "c")
    ]


def test_what_is_half_made_is_undone_and_said(bench: Bench) -> None:
    bench.boxes.failing = {("start", "b"): "Ray did not start: no memory"}
    bench.starts.add(NEW, ADMIN)
    error = bench.wait()
    assert error is not None
    assert error.message == "nothing was added: b: Ray did not start: no memory"
    assert bench.boxes.did("stop") == {"a", "b", "c"}
    assert (bench.names, bench.files) == (["local"], [])
    bench.boxes.failing[("stop", "b")] = "it is away"
    bench.starts.add(NEW, ADMIN)
    error = bench.wait()
    assert error is not None
    assert "Ray may still run where it could not be ended: b: it is away" in str(error.hint)


def test_a_server_that_was_killed_meanwhile_is_followed_by_one_that_undoes_it(bench: Bench) -> None:
    (bench.folder / "clusters").mkdir()
    (bench.folder / "clusters" / "lab.adding").write_text(json.dumps(to_json(LAB)))
    bench.starts.open()
    error = bench.wait()
    assert error is not None
    assert "the server ended while lab was added" in error.message
    assert bench.boxes.did("stop") == {"a", "b", "c"}
    assert bench.files == []


def test_what_cannot_be_is_refused_before_any_host_hears_of_it(bench: Bench) -> None:
    with pytest.raises(Forbidden):
        bench.starts.add(NEW, USER)
    bench.line = "grid server start --listen"
    with pytest.raises(Unusable, match="it serves this computer only") as error:
        bench.starts.add(NEW, ADMIN)
    assert error.value.hint == bench.line
    bench.line = ""
    for new in (
        NewCluster(name="lab", engine="ray", hosts=("a", "a")),
        NewCluster(name="lab", engine="ray", hosts=("-x",)),
        NewCluster(name="lab", engine="ray", hosts=("a",), address="http://a:8265"),
        NewCluster(name="lab", engine="ray", hosts=("a",), install=("-r",)),
    ):
        with pytest.raises(InvalidValue):
            bench.starts.add(new, ADMIN)
    with pytest.raises(NotFound):
        bench.starts.progress("lab", 0)
    bench.add()
    with pytest.raises(Conflict, match="already a cluster lab"):
        bench.starts.add(NEW, ADMIN)
    assert len(bench.boxes.orders) == 9


def test_a_start_brings_back_what_is_gone_with_the_same_token(bench: Bench) -> None:
    bench.add()
    bench.boxes.about = {"a": {"dashboard": "http://10.0.0.97:8266"}}
    bench.starts.start("lab", ADMIN)
    assert bench.wait() is None
    (_, first), (address, second) = bench.made
    assert (address, second) == ("http://10.0.0.97:8266", first)
    with pytest.raises(Conflict, match="this computer"):
        bench.starts.start("local", ADMIN)
    bench.clusters.add(NewCluster(name="old", engine="ray", address="http://h:8265", token="t"), ADMIN)
    with pytest.raises(Conflict, match="started nothing of it"):
        bench.starts.start("old", ADMIN)


def test_removing_ends_ray_where_it_was_started_and_nowhere_else(bench: Bench) -> None:
    bench.clusters.add(NewCluster(name="old", engine="ray", address="http://h:8265", token="t"), ADMIN)
    assert bench.clusters.remove("old", ADMIN) == []
    assert not bench.boxes.orders
    bench.add()
    with bench.database.transaction() as tx:
        run = make_run("brave-otter")
        run = dataclasses.replace(run, plan=dataclasses.replace(run.plan, cluster="lab"))
        tx.runs.create(run, make_experiments(run), T0)
    with pytest.raises(Conflict, match="used by brave-otter"):
        bench.clusters.remove("lab", ADMIN)
    assert not bench.boxes.did("stop")
    with pytest.raises(Conflict, match="used by brave-otter"):
        bench.clusters.change("lab", ClusterChanges(work_dir="/w", replace_s=600), ADMIN)
    bench.clusters.change("lab", ClusterChanges(replace_s=600), ADMIN)  # no run is disturbed by that
    with bench.database.read() as tx:
        assert tx.clusters.find("lab").replace_s == 600


def test_a_host_that_is_away_keeps_its_cluster_unless_it_is_forced_and_is_named_then(bench: Bench) -> None:
    bench.add()
    bench.boxes.failing = {("stop", "b"): "ssh: no route"}
    with pytest.raises(Unusable, match="b: ssh: no route") as error:
        bench.clusters.remove("lab", ADMIN)
    assert "--force" in (error.value.hint or "")
    assert bench.names == ["local", "lab"]
    removed = bench.clusters.remove("lab", ADMIN, force=True)
    assert [(host.host, host.problem) for host in removed] == [("a", None), ("b", "ssh: no route"), ("c", None)]
    assert (bench.names, bench.files) == (["local"], [])


def test_a_cluster_is_changed_while_nothing_uses_it(bench: Bench) -> None:
    bench.clusters.add(NewCluster(name="old", engine="ray", address="http://h:8265", token="t"), ADMIN)
    bench.clusters.change("old", ClusterChanges(possible={"4_v100_16gb": 2}, token="new"), ADMIN)
    with bench.database.read() as tx:
        cluster = tx.clusters.find("old")
    assert (cluster.address, cluster.possible, cluster.created_us) == ("http://h:8265", {"4_v100_16gb": 2}, 7)
    assert bench.made[-1] == ("http://h:8265", "new")
    with pytest.raises(InvalidValue):
        bench.clusters.change("old", ClusterChanges(work_dir="relative"), ADMIN)
    with pytest.raises(Forbidden):
        bench.clusters.change("old", ClusterChanges(work_dir="/w"), USER)
    bench.add()
    bench.clusters.change("lab", ClusterChanges(possible={"4_v100_16gb": 2}), ADMIN)
    with pytest.raises(Conflict, match="started on the hosts of lab by this server"):
        bench.clusters.change("lab", ClusterChanges(address="http://h:8265"), ADMIN)
