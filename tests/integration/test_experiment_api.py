"""One experiment over HTTP: what it was given, where it is placed, and what differs from its commit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.server import Caller, serving


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    with serving(tmp_path) as (made, _):
        yield made


def test_an_experiment_tells_its_plan_before_there_is_an_attempt(caller: Caller) -> None:
    caller.run("calm-fox", "--lr", "0.1", environment={"SECRET_KEY": "hidden"}, framework="torch")
    document = caller("GET", "experiments/calm-fox-exp0").document
    assert (document["user"], document["script"], document["framework"]) == (document["user"], "./t.sh", "torch")
    assert document["arguments"] == [{"name": "lr", "typed": "0.1", "resolved": "0.1"}]
    assert document["environment"] == ["SECRET_KEY"]
    assert "hidden" not in str(document)
    (machine,) = document["placement"]
    assert (machine["state"], machine["hostname"], machine["unreachable_since"]) == ("waiting", None, None)
    assert [rank["state"] for rank in machine["nodes"][0]["ranks"]] == ["waiting"]
    assert document["root_cause"] is None
    assert document["events"][0]["from"] is None


def test_the_difference_to_the_commit_is_shown_as_harmless_text(caller: Caller) -> None:
    patch = b"diff --git a/t.py b/t.py\n--- a/t.py\n+++ b/t.py\n+<script>alert(1)</script>\n+\xff\n"
    digest = hashlib.sha256(patch).hexdigest()
    caller.run("calm-fox")
    assert caller("GET", "experiments/calm-fox-exp0/diff").status == 404
    assert caller.send(digest, patch) == 201
    bundle = caller("GET", "runs/calm-fox/request").document["request"]["source"]["bundle"]
    source = {"bundle": bundle, "root": "/", "kind": "git", "commit": "c0ffee", "patch": digest}
    assert caller.run("shy-hare", source=source).status == 201
    answer = caller.raw("GET", "experiments/shy-hare-exp0/diff")
    assert answer.content == patch
    assert answer.headers["content-type"].startswith("text/plain")
    assert "sandbox" in answer.headers["content-security-policy"]
