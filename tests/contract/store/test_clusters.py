"""What every store promises about clusters."""

from __future__ import annotations

import dataclasses

import pytest
from tests.support.records import T0

from opengrid.core.errors import Conflict, NotFound
from opengrid.core.records.clusters import Cluster, ClusterHosts
from opengrid.store.database import Database

LAB = Cluster(
    name="lab",
    engine="ray",
    address="http://10.0.0.1:8265",
    possible={"4_v100_16gb": 8},
    work_dir="/scratch",
    python=None,
    user="ada",
    created_us=T0,
)


@pytest.fixture(autouse=True)
def _no_clusters(database: Database) -> None:
    with database.transaction() as tx:
        for cluster in tx.clusters.list():
            tx.clusters.remove(cluster.name)


def test_a_cluster_is_kept_as_it_was_added(database: Database) -> None:
    with database.transaction() as tx:
        tx.clusters.add(LAB)
        tx.clusters.add(dataclasses.replace(LAB, name="box", python="/opt/py/bin/python"))
    with database.read() as tx:
        assert tx.clusters.find("lab") == LAB
        assert [cluster.name for cluster in tx.clusters.list()] == ["box", "lab"]


def test_a_name_is_taken_once(database: Database) -> None:
    with database.transaction() as tx:
        tx.clusters.add(LAB)
        with pytest.raises(Conflict):
            tx.clusters.add(LAB)


def test_what_is_new_about_a_cluster_is_kept(database: Database) -> None:
    started = dataclasses.replace(LAB, hosts=ClusterHosts(id="0badcafe", names=("ada@box1", "box2:2222")))
    with database.transaction() as tx:
        tx.clusters.add(started)
        assert tx.clusters.find("lab") == started
        assert started.hosts is not None
        known = dataclasses.replace(started.hosts, addresses=("10.0.0.1", "10.0.0.2"), install=("torch",))
        changed = dataclasses.replace(started, address="http://10.0.0.1:8266", hosts=known, replace_s=90.5)
        tx.clusters.change(changed)
        assert tx.clusters.find("lab") == changed
        with pytest.raises(NotFound):
            tx.clusters.change(dataclasses.replace(changed, name="other"))


def test_an_unknown_cluster_is_answered_with_the_nearest(database: Database) -> None:
    with database.transaction() as tx:
        tx.clusters.add(LAB)
        with pytest.raises(NotFound) as caught:
            tx.clusters.find("labs")
    assert caught.value.hint == "did you mean lab?"


def test_everybody_has_a_default_of_their_own(database: Database) -> None:
    with database.transaction() as tx:
        tx.clusters.add(LAB)
        tx.clusters.set_default("ada", "lab")
        assert (tx.clusters.default("ada"), tx.clusters.default("bob")) == ("lab", None)
        tx.clusters.set_default("ada", None)
        assert tx.clusters.default("ada") is None
        with pytest.raises(NotFound):
            tx.clusters.set_default("ada", "nowhere")


def test_a_removed_cluster_is_nobodys_default(database: Database) -> None:
    with database.transaction() as tx:
        tx.clusters.add(LAB)
        tx.clusters.set_default("ada", "lab")
        tx.clusters.remove("lab")
        assert tx.clusters.default("ada") is None
        with pytest.raises(NotFound):
            tx.clusters.remove("lab")
