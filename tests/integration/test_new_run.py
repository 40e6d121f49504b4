"""The New run dialog: a pasted link and fields become a plan, its command line, and a run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_ray import FakeRay
from tests.support.grid import eventually
from tests.support.repositories import HOST, commit, hosted
from tests.support.server import Caller, serving

from opengrid.planning.catalogue import load_catalogue

REPO = f"{HOST}/repo"
SCRIPT = f"{REPO}/blob/main/examples/train.sh"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("new-run")


@pytest.fixture(scope="module")
def head(folder: Path) -> str:
    return commit(folder / "host" / "repo", {"examples/train.sh": "#!/bin/sh\n", "README": "x"})


@pytest.fixture(scope="module")
def caller(folder: Path, head: str) -> Iterator[Caller]:
    with pytest.MonkeyPatch.context() as environment:
        for name, value in hosted(folder / "host").items():
            environment.setenv(name, value)
        with serving(folder / "home", git_protocols=("https", "file")) as (made, _):
            yield made


def plan(caller: Caller, **fields: Any) -> dict[str, Any]:
    answer = caller("POST", "new-run/plan", fields)
    assert answer.status == 200, answer
    return answer.document


def test_a_pasted_link_and_gpus_become_a_plan_a_command_and_a_run(caller: Caller, head: str) -> None:
    form = {"link": SCRIPT, "instance_type": "4_v100_16gb", "gpus": 8, "arguments": '--lr "[0.1, 0.2]" --tag "a b"'}
    answer = plan(caller, **form)
    assert answer["problem"] is None
    assert answer["link"] == {"url": REPO, "ref": "main", "commit": head, "path": "examples/train.sh"}
    assert answer["sentence"] == "2 machines, 2 nodes × 4 GPUs, 2 experiments, $51.40/h, simulated here"
    assert (answer["plan"]["nodes"], answer["plan"]["gpus_per_node"], answer["plan"]["simulated"]) == (2, 4, True)
    words = shlex.split(answer["command"])
    assert words[:2] == ["grid", "run"]
    assert words[words.index(SCRIPT) :] == [SCRIPT, "--lr", "[0.1, 0.2]", "--tag", "a b"]
    created = caller("POST", "new-run", form)
    assert created.status == 201, created
    assert created.document["run"] == answer["name"]
    assert plan(caller, **form)["name"] != answer["name"], "the name is taken now"
    document = caller("GET", f"experiments/{answer['name']}-exp1").document
    assert [(a["name"], a["resolved"]) for a in document["arguments"]] == [("lr", "0.2"), ("tag", "a b")]
    assert document["source"]["place"]["commit"] == head


def test_edited_parts_are_a_link_again(caller: Caller, head: str) -> None:
    answer = plan(caller, link=f"{REPO}#main:examples/train.sh", framework="torch")
    assert (answer["link"]["path"], answer["problem"]) == ("examples/train.sh", None)
    assert plan(caller, link=REPO, script="examples/train.sh")["link"] == answer["link"]
    assert answer["link"]["commit"] == head


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({}, "link", "paste a link"),
        ({"link": "train.py"}, "link", "train.py"),
        ({"link": f"{REPO}/blob/main/examples/trian.sh"}, "link", "did you mean examples/train.sh"),
        ({"link": f"{REPO}/blob/mian/examples/train.sh"}, "link", "main"),
        ({"link": REPO}, "script", "names no script"),
        ({"link": SCRIPT, "arguments": '--tag "a'}, "arguments", "close every quote"),
        ({"link": SCRIPT, "instance_type": "4_v100_64gb"}, "instance_type", "did you mean"),
        ({"link": SCRIPT, "gpus": -1}, "gpus", "negative"),
        ({"link": SCRIPT, "gpus": 100_000, "instance_type": "4_v100_16gb"}, "gpus", "at most"),
        ({"link": SCRIPT, "strategy": "random_search"}, "num_trials", "needs"),
        ({"link": SCRIPT, "strategy": "best"}, "strategy", "grid_search"),
        ({"link": SCRIPT, "framework": "jax"}, "framework", "lightning"),
        ({"link": SCRIPT, "name": "Bad Name"}, "name", "lower-case"),
        ({"link": SCRIPT, "environment": {"A=B": "x"}}, "environment", "A=B"),
        ({"link": SCRIPT, "arguments": "--data grid:nosuch:1"}, None, "nosuch"),
    ],
)
def test_what_cannot_be_planned_is_an_answer_that_names_the_field(
    caller: Caller, fields: dict[str, Any], field: str | None, words: str
) -> None:
    answer = plan(caller, **fields)
    assert (answer["plan"], answer["sentence"]) == (None, "")
    assert answer["problem"]["field"] == field, answer["problem"]
    assert words in f"{answer['problem']['message']} {answer['problem']['hint']}"
    refused = caller("POST", "new-run", fields)
    assert (400 <= refused.status < 500, refused.document["error"]["message"]) == (True, answer["problem"]["message"])


def test_where_a_link_leads_is_told_though_it_names_no_script(caller: Caller) -> None:
    assert plan(caller, link=REPO)["link"] == {"url": REPO, "ref": "main", "commit": "", "path": ""}
    assert plan(caller, link=f"{REPO}/tree/main/examples", script="trian.sh")["link"]["path"] == "examples"


def test_where_the_link_leads_is_told_though_the_machines_do_not_fit(caller: Caller, head: str) -> None:
    answer = plan(caller, link=SCRIPT, gpus=100_000, instance_type="4_v100_16gb")
    assert answer["link"]["commit"] == head


def test_a_datastore_is_mounted_beside_the_script(caller: Caller) -> None:
    assert "nosuch" in plan(caller, link=SCRIPT, datastore="nosuch:1")["problem"]["message"]
    assert plan(caller, link=SCRIPT, datastore="x:y")["problem"]["field"] == "datastore"
    caller.datastore("stl10", {"a": b"1"})
    form = {"link": SCRIPT, "datastore": "stl10:1", "name": "with-data"}
    assert plan(caller, **form)["problem"] is None
    assert caller("POST", "new-run", form).status == 201
    assert caller("GET", "runs/with-data/new-run").document["datastore"] == "stl10:1"


def test_what_has_no_effect_is_said(caller: Caller) -> None:
    assert "not taken away" in plan(caller, link=SCRIPT, use_spot=True)["plan"]["reason"]


def test_a_run_fills_the_form_that_starts_it_again(caller: Caller, head: str) -> None:
    fields = {
        "gpus": 4,
        "instance_type": "1_v100_16gb",
        "arguments": "--note 'a b'",
        "labels": {"team": "vision"},
        "environment": {"KEY": "value"},
    }
    caller("POST", "new-run", {"link": SCRIPT, "name": "calm-fox", **fields})
    form = caller("GET", "runs/calm-fox/new-run").document
    assert {name: form[name] for name in fields} == fields
    assert (form["link"], form["name"], form["copy_of"]) == (f"{REPO}#{head}:examples/train.sh", None, None)
    assert caller("POST", "new-run", form).status == 201
    caller.run("shy-hare", "--lr", "0.1", instance_type="4_cpu_16gb")
    form = caller("GET", "runs/shy-hare/new-run").document
    assert (form["link"], form["copy_of"], form["script"]) == (None, "shy-hare", "./t.sh")
    copied = caller("POST", "new-run", {**form, "name": "shy-hare-2", "arguments": "--lr 0.2"})
    assert copied.status == 201, copied
    first, second = (caller("GET", f"runs/{name}/request").document["request"] for name in ("shy-hare", "shy-hare-2"))
    assert first["source"] == second["source"]
    assert second["program"]["arguments"] == ["--lr", "0.2"]


def test_runs_are_cloned_as_they_are_under_new_names(caller: Caller) -> None:
    caller.run("old-owl", "--lr", "[1, 2]", labels={"team": "vision"})
    cloned = caller("POST", "clone", {"names": ["old-owl", "old-owl"]})
    assert cloned.status == 201, cloned
    (row,) = cloned.document["runs"]
    assert (row["of"], len(row["experiments"])) == ("old-owl", 2)
    first, second = (caller("GET", f"runs/{name}/request").document["request"] for name in ("old-owl", row["run"]))
    assert {**first, "name": None, "command": ""} == {**second, "name": None, "command": ""}
    assert caller("POST", "clone", {"names": ["old-owl", "nosuch"]}).status == 404


def test_machine_types_come_with_labels_and_values_that_are_unique(caller: Caller) -> None:
    rows = caller("GET", "instance-types").document["instance_types"]
    assert rows[0]["value"] == "local"
    assert rows[0]["label"].startswith("This computer: ")
    assert len({row["value"] for row in rows}) == len(rows)
    by_value = {row["value"]: row for row in rows}
    assert by_value["4_v100_16gb"]["label"] == "4xV100 (16 GB) $12.85/h (p3.8xlarge)"
    assert by_value["4_v100_16gb"]["spot_label"] == "4xV100 (16 GB) $3.86/h (p3.8xlarge)"
    catalogue = load_catalogue()
    assert [catalogue.find(value).cloud for value in by_value if value != "local"] == [r["cloud"] for r in rows[1:]]


def test_a_cluster_can_be_chosen_and_its_own_machines_come_first(caller: Caller, folder: Path) -> None:
    ray = FakeRay()
    ray.start()
    for address in ("10.0.0.1", "10.0.0.2"):
        ray.add_node(address, CPU=16, GPU=4, memory=64 << 30)
    try:
        added = caller("POST", "clusters", {"name": "lab", "engine": "ray", "address": ray.address})
        assert added.status == 201, added
        assert caller("GET", "new-run/clusters").document["clusters"] == [
            {"cluster": "local", "label": "This computer", "default": True},
            {"cluster": "lab", "label": "lab: 2 machines, 8 GPUs", "default": False},
        ]
        first = caller("GET", "instance-types", cluster="lab").document["instance_types"][0]
        assert (first["value"], first["gpus"], first["on_demand"]) == ("local", 4, 0.0)
        assert first["label"] == "Machines of lab: 4 GPUs, 16 CPUs each"
        answer = plan(caller, link=SCRIPT, cluster="lab", gpus=8, framework="torch")
        assert answer["problem"] is None
        assert (answer["plan"]["cluster"], answer["plan"]["machines"]) == ("lab", 2)
        words = shlex.split(answer["command"])
        assert words[words.index("--cluster") + 1] == "lab"
        source = folder / "data"
        source.mkdir()
        (source / "a").touch()
        caller("POST", "datastores/imports", {"name": "data", "source": str(source), "refers": True})
        eventually(lambda: caller("GET", "datastores/data").document.get("state") == "succeeded")
        answer = plan(caller, link=SCRIPT, cluster="lab", framework="torch", arguments="grid:data:1")
        (mount,) = answer["plan"]["mounts"]
        assert mount["text"] == f"data:1 at {source}, read-only on machines that allow mounts"
        problem = plan(caller, link=SCRIPT, cluster="moon")["problem"]
        assert problem["field"] == "cluster"
        assert caller("GET", "instance-types", cluster="moon").status == 404
    finally:
        caller("DELETE", "clusters/lab")
        ray.stop()
