"""An agent on a machine of a cluster: packages that its interpreter lacks are installed there, once."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.support.agents import AgentBench
from tests.support.bundles import bundle_of
from tests.support.processes import wait_until
from tests.support.wheels import index_variables, make_wheel

from opengrid.core.errors import GridError, Unusable
from opengrid.core.protocol import Assignment, Broken, Packages, Phase, Prepared
from opengrid.node.packages import PackageMaker, overlay_of

SCRIPT = "import ogalpha, ogbeta, ogown\nprint('has', ogalpha.VERSION, ogbeta.VERSION, ogown.VERSION)\n"

#: Actions before and after the packages: they see the tree and those that are there by then.
BEFORE = ("echo makes it on $GRID_CLUSTER_ID with $(cat pkg/data.txt); python -m pip install -q ogown",)
AFTER = ("python -c 'import ogalpha, ogown; print(ogalpha.VERSION)' >&2",)


@pytest.fixture
def index(tmp_path: Path) -> dict[str, str]:
    make_wheel(tmp_path / "wheels", "ogalpha", "1.0", needs=["ogbeta", "pip"])
    make_wheel(tmp_path / "wheels", "ogbeta", "2.0")
    make_wheel(tmp_path / "wheels", "ogown", "3.0")
    return index_variables(tmp_path / "wheels")


def wanted(folder: Path, *requirements: str) -> Packages:
    return Packages(file="requirements.txt", requirements=requirements, folder=str(folder / "packages"))


def acting(packages: Packages, before: tuple[str, ...], after: tuple[str, ...] = ()) -> Packages:
    return dataclasses.replace(packages, before=before, after=after, needs_the_tree=True)


def no_tree() -> Path:
    raise AssertionError("these packages need nothing of the tree")


def no_action(command: str, folder: Path, variables: Mapping[str, str]) -> None:
    raise AssertionError("there are no actions")


@pytest.fixture
def assignment(bench: AgentBench, index: dict[str, str], tmp_path: Path) -> Assignment:
    packages = acting(wanted(tmp_path, "ogalpha>=1"), BEFORE, AFTER)
    bench.assign(SCRIPT, environment=index, packages=packages, shares_disk=False)
    made = bench.server.assignments[0]
    return dataclasses.replace(made, overlay=overlay_of(made))


def test_ranks_find_what_the_machine_lacked_and_the_interpreter_stays_as_it_was(
    bench: AgentBench, assignment: Assignment
) -> None:
    bench.start()
    bench.run()
    bench.wait_for_log(b"makes it on local with data\nhas 1.0 2.0 3.0\n")
    bench.until_ended()
    assert bench.server.text(0, "stderr") == b"1.0\n"
    (told,) = bench.server.of(Prepared, 0)
    done = "carried out 2 actions and installed ogalpha==1.0, ogbeta==2.0 in "  # and not pip, which is there
    assert told.launch_reason.startswith(done)
    assert {"ogalpha==1.0", "ogbeta==2.0"} <= set(told.packages)
    assert any(package.startswith("pytest==") for package in told.packages)  # the interpreter's own
    bench.release()
    assert subprocess.run([sys.executable, "-c", "import ogalpha"], capture_output=True).returncode == 1

    assert PackageMaker(assignment, {}).make(no_tree, no_action) == ""  # the next experiment finds it made
    assert [path.name for path in Path(str(assignment.overlay)).parent.glob("*") if path.is_dir()] == [
        Path(str(assignment.overlay)).name
    ]


def test_what_cannot_be_had_ends_the_attempt_in_pips_words(
    bench: AgentBench, index: dict[str, str], tmp_path: Path
) -> None:
    bench.assign(SCRIPT, environment=index, packages=wanted(tmp_path, "ogalpha>=7"))
    bench.start()
    bench.server.tell(1, Phase.PREPARE)
    bench.server.until(lambda: bench.server.of(Broken, 0), "broken")
    (told,) = bench.server.of(Broken, 0)
    assert "requirements.txt: " in told.message
    assert "ogalpha>=7" in told.message
    assert not told.is_retryable
    assert not [path for path in (tmp_path / "packages").iterdir() if path.is_dir()]


def test_an_action_that_fails_ends_the_attempt_with_what_it_wrote_in_the_log(
    bench: AgentBench, index: dict[str, str], tmp_path: Path
) -> None:
    packages = acting(wanted(tmp_path), ("echo on the way; exit 3", "echo never"))
    bench.assign(SCRIPT, environment=index, packages=packages)
    bench.start()
    bench.server.tell(1, Phase.PREPARE)
    bench.server.until(lambda: bench.server.of(Broken, 0), "broken")
    (told,) = bench.server.of(Broken, 0)
    assert "build action 'echo on the way; exit 3' ended with 3" in told.message
    assert not told.is_retryable
    bench.wait_for_log(b"on the way\n")
    assert not [path for path in (tmp_path / "packages").iterdir() if path.is_dir()]


def test_an_interpreter_without_pip_is_named_with_the_line_that_helps(assignment: Assignment, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True, timeout=60)
    python = str(tmp_path / "bare/bin/python")
    packages = wanted(tmp_path, "ogalpha")
    bare = dataclasses.replace(assignment, python=python, packages=packages)
    with pytest.raises(Unusable, match="No module named pip") as refused:
        PackageMaker(bare, {}).make(no_tree, no_action)
    assert refused.value.hint == f"{python} -m ensurepip gives that machine's interpreter its pip"


def test_a_build_that_nobody_wants_any_more_ends_with_all_it_started(assignment: Assignment, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nsleep 300 & wait\n")
    python.chmod(0o755)
    packages = wanted(tmp_path, "ogalpha")
    some = dataclasses.replace(assignment, python=str(python), packages=packages)
    maker, refused = PackageMaker(some, {}), threading.Event()

    def make() -> None:
        try:
            maker.make(no_tree, no_action)
        except GridError:
            refused.set()

    thread = threading.Thread(target=make)
    thread.start()
    wait_until((tmp_path / "pid").exists, "started")
    maker.cancel()
    thread.join(60)
    assert refused.is_set()


SETUP = "from setuptools import setup\nsetup(name={0!r}, py_modules=[{0!r}], install_requires={1})\n"


def test_what_lies_in_the_tree_is_installed_from_it_or_imported_with_what_it_needs(
    assignment: Assignment, tmp_path: Path
) -> None:
    files = {"copied/ogcopied.py": b"", "edited/ogedited.py": b""}
    files["copied/setup.py"] = SETUP.format("ogcopied", []).encode()
    files["edited/setup.py"] = SETUP.format("ogedited", ["ogbeta"]).encode()
    tree = tmp_path / "tree.tar"
    tree.write_bytes(bundle_of(files))
    packages = dataclasses.replace(wanted(tmp_path, "./copied", "./edited"), editable=("edited",), needs_the_tree=True)
    local = {**assignment.environment, "PIP_NO_BUILD_ISOLATION": "0"}  # pip's way to say: with what is installed
    some = dataclasses.replace(assignment, packages=packages, environment=local)
    some = dataclasses.replace(some, overlay=overlay_of(some))
    said = PackageMaker(some, {}).make(lambda: tree, no_action)
    assert said.startswith("installed ogcopied, ogbeta==2.0 in ")
    found = {path.name for path in Path(str(some.overlay)).iterdir()}
    assert {"ogcopied.py", "ogbeta"} <= found
    assert "ogedited.py" not in found


def test_another_interpreter_or_another_content_has_packages_of_its_own(assignment: Assignment, tmp_path: Path) -> None:
    other = dataclasses.replace(assignment, python="/usr/bin/python3")
    more = dataclasses.replace(assignment, packages=wanted(tmp_path, "ogalpha>=1", "ogbeta"))
    acts = dataclasses.replace(assignment, packages=acting(wanted(tmp_path, "ogalpha>=1"), BEFORE))
    assert len({overlay_of(one) for one in (assignment, other, more, acts)}) == 4
