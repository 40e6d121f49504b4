"""engines.ray.inside.machine: what an actor answers that cannot start its agent, or ask about its machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opengrid.engines.ray.inside.machine import Machine

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def foreign(tmp_path: Path) -> str:
    """Return the state folder below a work folder of somebody else."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(tmp_path, 65534, 65534)
    return str(tmp_path / "agents")


def test_a_work_folder_of_somebody_else_is_named(foreign: str) -> None:
    ticket: dict[str, object] = {"state_dir": foreign, "attempt_id": "a", "machine": 0}
    code, words = Machine().run(ticket, f"{NOWHERE}/program", "0" * 64, None)
    assert code is None
    assert words == f"{os.path.dirname(foreign)} belongs to somebody else: choose another --work-dir for the cluster"
    said = Machine().about(NOWHERE, 0, f"{NOWHERE}/program", "0" * 64, None, foreign, "")
    assert (said["problem"], bool(said["hostname"])) == (words, True)


def test_a_server_that_is_not_reached_is_named(tmp_path: Path) -> None:
    said = Machine().about(NOWHERE, 0, f"{NOWHERE}/program", "0" * 64, None, str(tmp_path / "w/agents"), "")
    assert said["problem"] == f"{NOWHERE}/program cannot be fetched: Connection refused"
