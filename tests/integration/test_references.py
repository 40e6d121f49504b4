"""References to datastores in arguments: what is recorded of them."""

from __future__ import annotations

import getpass
from pathlib import Path

from tests.support.server import serving


def test_the_record_keeps_what_was_typed_and_the_path_that_it_became(tmp_path: Path) -> None:
    with serving(tmp_path) as (ada, _):
        for content in (b"1", b"2"):
            ada.datastore("stl10", {"a": content})
        me = getpass.getuser()
        arguments = ("--both", "grid:stl10:1,grid:stl10:latest/a", f"--mine=grid:{me}:stl10:2", "-v", "['x','y']")
        created = ada.run("first", *arguments)
        assert created.status == 201, created
        ada.datastore("stl10", {"a": b"3"})  # `latest` was looked up when the run was made
        shown = ada("GET", "experiments/first-exp1").document
        one, two = (str(tmp_path / "datastores" / "stl10" / version) for version in "12")
        assert shown["arguments"] == [
            {"name": "both", "typed": arguments[1], "resolved": f"{one},{two}/a"},
            {"name": "mine", "typed": f"grid:{me}:stl10:2", "resolved": two},
            {"name": "v", "typed": "y", "resolved": "y"},
        ]
        assert shown["params"]["both"] == arguments[1]


def test_a_reference_to_nothing_makes_no_run(tmp_path: Path) -> None:
    with serving(tmp_path) as (ada, _):
        ada.datastore("stl10", {"a": b"1"})
        for text, said in (
            ("x,grid:stl10:2", "no version 2"),
            ("grid:stl1:latest", "did you mean stl10?"),
            ("grid:bob:stl10:1", "bob has no datastore stl10"),
            ("grid:stl10:new", "'grid:stl10:new' is no reference"),
        ):
            refused = ada.run("never", "--data", text)
            assert refused.status in (404, 422)
            assert said in refused.error, refused
        assert ada("GET", "runs").document["runs"] == []
