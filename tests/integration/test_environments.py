"""services.environments: what an interpreter lacks is installed beside it, once. uv is real, the index a folder."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
import uuid
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.support.records import make_plan, make_run, make_spec
from tests.support.wheels import index_variables, make_project, make_wheel

from opengrid.blobs.folder import FolderBlobs
from opengrid.core.errors import GridError
from opengrid.core.records.experiments import Run
from opengrid.core.spec import Actions, Source
from opengrid.planning.dependencies import find_dependencies
from opengrid.planning.environment import Environment, EnvironmentState
from opengrid.planning.own_packages import TreeFiles
from opengrid.planning.pruning import Bounds
from opengrid.services.building import BuildFailed, Commands
from opengrid.services.environments import Environments

DAY_S = 86400.0
READY, BUILDING, FAILED = EnvironmentState.READY, EnvironmentState.BUILDING, EnvironmentState.FAILED


class Site:
    """A folder of environments, and an index with a few packages."""

    def __init__(self, folder: Path, python: str) -> None:
        self.wheels, self.python = folder / "wheels", python
        make_wheel(self.wheels, "ogalpha", "1.0", needs=["ogbeta>=1"])
        make_wheel(self.wheels, "ogbeta", "1.0")
        make_wheel(self.wheels, "ogbeta", "2.0")
        self.folder = folder / "environments"
        self.blobs = FolderBlobs(folder / "blobs")
        self.secrets: dict[str, str] = {}
        self.active: set[str] = set()  #: ids of runs
        self._changed = threading.Condition()
        self.environments = self.make()

    def make(self) -> Environments:
        return Environments(
            self.folder,
            self.blobs,
            secrets_of=lambda _: self.secrets,
            environment={**os.environ, **index_variables(self.wheels)},
            changed=self._notify,
            active_runs=lambda: self.active,
            bounds=Bounds(most_bytes=0, longest_unused_s=DAY_S),
        )

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def run(self, *requirements: str, actions: Actions | None = None, tree: dict[str, str] | None = None) -> Run:
        text = "\n".join(requirements)
        files = {**(tree or {}), "requirements.txt": text}
        needed = find_dependencies(TreeFiles(files, files.get))
        spec = make_spec(
            source=Source(bundle=self.bundle(tree or {}), root="/home/ada"),
            shell={"PATH": os.environ["PATH"]},
            dependencies=needed,
            actions=actions or Actions(),
        )
        plan = dataclasses.replace(make_plan(), python=self.python)
        return dataclasses.replace(make_run(), id=uuid.uuid4().hex, spec=spec, plan=plan)

    def bundle(self, tree: dict[str, str]) -> str:
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            for name, text in tree.items():
                info = tarfile.TarInfo(name)
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text.encode()))
        digest = sha256(content.getvalue()).hexdigest()
        with self.blobs.writing(digest) as writer:
            writer.write(content.getvalue())
        return digest

    def made(self, run: Run) -> Environment:
        """Wait until a run's environment is made, or has failed."""
        with self._changed:
            done = self._changed.wait_for(lambda: self.environments.look(run).state is not BUILDING, timeout=120)
        assert done
        return self.environments.look(run)

    def ask(self, run: Run, code: str) -> str:
        """Return what a program prints that has the environment's packages."""
        overlay = self.environments.overlay(run)
        return subprocess.run(
            [self.python, "-c", code],
            env={"PYTHONPATH": overlay or ""},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that has ogbeta 1.0 and a torch, and nothing else."""
    folder = tmp_path_factory.mktemp("python")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = str(folder / "venv/bin/python")
    wheels = [make_wheel(folder, "ogbeta", "1.0"), make_wheel(folder, "torch", "2.13.0+cpu")]
    site = next((folder / "venv").glob("lib/python3*/site-packages"))
    for wheel in wheels:
        subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, site], check=True)
    return python


@pytest.fixture
def site(tmp_path: Path, bare_python: str) -> Any:
    site = Site(tmp_path, bare_python)
    yield site
    site.environments.close()


def test_nothing_is_made_for_a_run_that_names_nothing(site: Site) -> None:
    assert site.environments.look(site.run()) == Environment(state=READY)
    assert list(site.folder.iterdir()) == []


def test_an_interpreter_that_has_everything_gets_no_overlay(site: Site) -> None:
    run = site.run("ogbeta>=1", "torch")

    assert site.made(run) == Environment(state=READY, overlay=None)
    assert b"Would make no changes" in site.environments.log(run)


def test_what_is_missing_is_installed_beside_the_interpreter_which_stays_as_it_is(site: Site) -> None:
    run = site.run("ogalpha")

    environment = site.made(run)

    assert environment.state is READY, environment
    assert site.ask(run, "import ogalpha, ogbeta; print(ogalpha.VERSION, ogbeta.VERSION)") == "1.0 1.0"
    assert environment.overlay is not None
    assert sorted(os.listdir(environment.overlay)) == ["bin", "ogalpha", "ogalpha-1.0.dist-info"]
    assert site.environments.packages(run) == ["ogalpha==1.0", "ogbeta==1.0", "torch==2.13.0+cpu"]
    without = subprocess.run([site.python, "-c", "import ogalpha"], check=False, capture_output=True)
    assert without.returncode == 1


def test_a_newer_version_comes_before_the_interpreter_s_own(site: Site) -> None:
    run = site.run("ogbeta==2.0")

    assert site.made(run).state is READY
    assert site.ask(run, "import ogbeta; print(ogbeta.VERSION)") == "2.0"


def test_a_package_that_is_named_by_its_address_is_installed(site: Site) -> None:
    wheel = make_wheel(site.wheels.parent / "elsewhere", "ogzeta", "3.0")
    run = site.run(f"ogzeta @ {wheel.as_uri()}")

    assert site.made(run).state is READY
    assert site.ask(run, "import ogzeta; print(ogzeta.VERSION)") == "3.0"


def test_a_package_of_the_tree_is_installed_with_what_it_needs_and_anew_when_the_tree_has_changed(site: Site) -> None:
    tree = {f"lib/{name}": text for name, text in make_project("oglib", ["ogalpha"], "SAYS = 'first'").items()}
    first, same = site.run("./lib", tree=tree), site.run("./lib", tree=tree)
    changed = site.run("./lib", tree={**tree, "lib/oglib/__init__.py": "SAYS = 'second'"})
    ask = "import ogalpha, oglib; print(oglib.SAYS, oglib.__file__)"

    assert site.made(first).state is READY, site.environments.log(first)
    assert site.made(changed).state is READY, site.environments.log(changed)

    assert site.ask(first, ask) == f"first {site.environments.overlay(first)}/oglib/__init__.py"
    assert site.ask(changed, ask).startswith("second ")
    assert site.environments.overlay(same) == site.environments.overlay(first)


def test_of_an_editable_package_only_what_it_needs_is_installed(site: Site) -> None:
    run = site.run("-e .", tree=make_project("oglib", ["ogalpha"]))

    assert site.made(run).state is READY, site.environments.log(run)
    assert site.environments.packages(run) == ["ogalpha==1.0", "ogbeta==1.0", "torch==2.13.0+cpu"]


def test_torch_is_never_replaced(site: Site) -> None:
    make_wheel(site.wheels, "torch", "2.0")

    failed = site.made(site.run("torch==2.0"))

    assert failed.state is FAILED
    assert "you require torch==2.0 and torch==2.13.0+cpu" in failed.reason


def test_the_resolver_s_words_say_why_a_build_failed_and_a_later_look_tries_again(site: Site) -> None:
    run = site.run("ogdelta")
    failed = site.made(run)
    make_wheel(site.wheels, "ogdelta", "1.0")
    site.environments.forget_failure(run)
    again = site.made(run)

    assert failed.state is FAILED
    assert "ogdelta was not found" in failed.reason
    assert "ogdelta was not found" in failed.log_tail
    with pytest.raises(GridError, match="made again"):
        site.environments.overlay(site.run("ogepsilon"))
    assert again.state is READY


def test_runs_with_the_same_content_share_one_environment_made_once_also_after_a_restart(site: Site) -> None:
    runs = [site.run("ogalpha") for _ in range(50)]
    threads = [threading.Thread(target=site.environments.look, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    overlays = {site.made(run).overlay for run in runs}
    before = {path.name: path.stat().st_mtime_ns for path in site.folder.iterdir()}
    site.environments.close()
    site.environments = site.make()

    assert len(overlays) == 1
    assert {site.environments.look(site.run("ogalpha")).overlay} == overlays
    assert {path.name: path.stat().st_mtime_ns for path in site.folder.iterdir()} == before


def test_what_no_active_run_uses_is_removed_beyond_the_bounds_and_made_anew(site: Site) -> None:
    used, unused = site.run("ogalpha"), site.run("ogbeta==2.0")
    failed = site.run("ogdelta")
    overlays = [site.made(used).overlay, site.made(unused).overlay]
    assert site.made(failed).state is FAILED
    site.active = {used.id}
    site.environments.close()
    site.environments = site.make()

    gone = site.environments.prune(now_s=time.time())

    assert [Path(overlay or "").parent.name for overlay in overlays[1:]] == gone
    assert [Path(overlay or "").exists() for overlay in overlays] == [True, False]
    assert site.made(unused).state is READY
    assert site.ask(unused, "import ogbeta; print(ogbeta.VERSION)") == "2.0"
    site.active = {unused.id, used.id}
    assert sum(path.suffix == ".log" for path in site.folder.iterdir()) == 3, "the failed build's too"
    assert site.environments.prune(now_s=time.time() + 2 * DAY_S) == []
    site.active = set()
    site.environments.prune(now_s=time.time())
    assert list(site.folder.iterdir()) == []


def test_actions_run_around_the_dependencies_in_a_copy_of_the_tree(site: Site, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    actions = Actions(
        on_build=(f"cat data.txt >> {mark}", "echo changed > data.txt"),
        on_build_start=(f"cat data.txt >> {mark}; python -c 'import ogalpha' || echo none >> {mark}",),
        on_build_end=(f"python -c 'import ogalpha; print(ogalpha.VERSION)' >> {mark}; echo $GRID_USER_ID >> {mark}",),
    )
    run = site.run("ogalpha", actions=actions, tree={"data.txt": "first\n"})

    environment = site.made(run)

    assert environment.state is READY, environment
    assert mark.read_text().split() == ["first", "changed", "none", "1.0", "ada"]


def test_an_action_that_fails_fails_the_build_with_its_output(site: Site) -> None:
    failed = site.made(site.run(actions=Actions(on_build=("echo on the way; exit 3", "echo never"))))

    assert (failed.state, failed.reason) == (FAILED, "action 'echo on the way; exit 3': it ended with 3")
    assert "on the way" in failed.log_tail
    assert "never" not in failed.log_tail


def test_what_an_action_installs_by_pip_goes_into_the_environment(site: Site) -> None:
    site.python = sys.executable
    run = site.run(actions=Actions(on_build=("python -m pip install -q ogalpha",)))

    environment = site.made(run)

    assert environment.state is READY, site.environments.log(run).decode()
    assert environment.overlay is not None
    assert {"ogalpha", "ogbeta"} <= set(os.listdir(environment.overlay))


def test_secrets_do_not_reach_the_build_s_log(site: Site) -> None:
    site.secrets = {"TOKEN": "hunter2hunter2"}
    run = site.run(actions=Actions(on_build=("printf hunter2; sleep 0.1; printf 'hunter2 %s' $TOKEN; exit 1",)))

    failed = site.made(run)

    log = site.environments.log(run)
    assert b"hunter2hunter2" not in log
    assert b"*" * 14 + b" " + b"*" * 14 in log
    assert "hunter2hunter2" not in failed.reason + failed.log_tail


def test_a_command_that_starts_while_the_server_ends_is_ended_too(tmp_path: Path) -> None:
    for number in range(10):
        log = tmp_path / str(number)
        commands = Commands(log, ())
        ended = threading.Event()

        def run(commands: Commands = commands, ended: threading.Event = ended) -> None:
            with pytest.raises(BuildFailed):
                commands.run(["sleep", "60"], tmp_path, os.environ, title="sleep")
            ended.set()

        threading.Thread(target=run, daemon=True).start()
        while not log.exists():  # written just before the command starts
            pass
        commands.kill()
        assert ended.wait(30)


def test_a_build_for_which_nobody_waits_any_more_is_ended_and_made_anew_for_the_next(
    site: Site, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    actions = Actions(on_build=(f"echo begun >> {begun}; test -e {go} || sleep 600",))
    first, next_one = site.run(actions=actions), site.run(actions=actions)
    site.environments.look(first)
    while not begun.exists():
        pass
    site.environments.keep_only({first.id})
    assert site.environments.look(first).state is BUILDING

    go.touch()
    site.environments.keep_only(())

    assert site.made(next_one).state is READY
    assert begun.read_text() == "begun\n" * 2


def test_a_build_that_the_server_s_end_cut_off_is_begun_anew(site: Site) -> None:
    run = site.run(actions=Actions(on_build=("sleep 600",)))
    assert site.environments.look(run).state is BUILDING
    site.environments.close()
    (site.folder / f".{'0' * 8}.part").mkdir()

    site.environments = site.make()

    assert not list(site.folder.glob(".*.part"))
    assert site.environments.look(run).state is BUILDING
