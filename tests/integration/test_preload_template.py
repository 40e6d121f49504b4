"""One template per host, user, interpreter and preload list: starts once, ends when idle, is safe where it lies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.support.processes import is_alive, wait_until

from opengrid.core.errors import Unusable
from opengrid.node import spawn
from opengrid.node.preload.client import TemplateSpec, connect_launcher, ensure_template
from opengrid.node.preload.connection import PreloadFailed


@pytest.fixture
def fresh_spec(zipapp_path: Path) -> Iterator[TemplateSpec]:
    """A template of this test's own, which ends soon after its last launcher."""
    with tempfile.TemporaryDirectory(prefix="og-", dir="/tmp") as directory:
        yield TemplateSpec(python=sys.executable, program=str(zipapp_path), preload=(), directory=directory, idle_s=1.0)


def test_eight_at_once_get_one_template(fresh_spec: TemplateSpec) -> None:
    spec = replace(fresh_spec, idle_s=20.0)
    templates: list[int] = []

    def connect() -> None:
        launcher = connect_launcher(spec)
        templates.append(launcher.ready.template)
        launcher.close()

    threads = [threading.Thread(target=connect) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(templates) == 8
    assert len(set(templates)) == 1
    os.kill(templates[0], 9)


def test_it_ends_when_idle_and_takes_its_socket_with_it(fresh_spec: TemplateSpec) -> None:
    path = ensure_template(fresh_spec)
    launcher = connect_launcher(fresh_spec)
    template = launcher.ready.template
    assert is_alive(template)
    launcher.close()
    wait_until(lambda: not is_alive(template), "the template ended")
    assert not path.exists()


def test_it_ends_after_its_last_launcher_when_its_program_is_gone(fresh_spec: TemplateSpec, tmp_path: Path) -> None:
    program = Path(shutil.copy(fresh_spec.program, tmp_path / "program.pyz"))
    launcher = connect_launcher(replace(fresh_spec, program=str(program), idle_s=600.0))
    program.unlink()
    launcher.start([])
    assert is_alive(launcher.ready.template)
    launcher.close()
    wait_until(lambda: not is_alive(launcher.ready.template), "the template ended")


def test_it_is_nobodys_child_and_leads_its_own_session(fresh_spec: TemplateSpec) -> None:
    launcher = connect_launcher(fresh_spec)
    found = spawn.process(launcher.ready.template)
    assert found is not None
    assert os.getsid(found.pid) == found.pid
    assert found.pid not in spawn.descendants([os.getpid()], spawn.processes())
    assert Path(f"/proc/{found.pid}/cmdline").read_bytes().startswith(b"grid template")
    launcher.close()


def test_a_stale_socket_is_replaced(fresh_spec: TemplateSpec) -> None:
    launcher = connect_launcher(fresh_spec)
    os.kill(launcher.ready.template, 9)
    wait_until(lambda: not is_alive(launcher.ready.template))
    launcher.close()
    again = connect_launcher(fresh_spec)
    assert again.ready.template != launcher.ready.template
    again.close()


def test_an_installation_makes_a_new_template(fresh_spec: TemplateSpec, tmp_path: Path) -> None:
    spec = replace(fresh_spec, site_packages=(str(tmp_path),))
    before = spec.name()
    os.utime(tmp_path, ns=(1, 1))
    assert spec.name() != before


def test_a_cluster_that_was_started_on_this_host_shares_no_template_with_others(
    fresh_spec: TemplateSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fresh_spec.name()
    monkeypatch.setenv("OPENGRID_NODE", "/tmp/opengrid-node-0badcafe")  # by which all that is there is ended with it
    assert fresh_spec.name() != before
    launcher = connect_launcher(fresh_spec)
    seen = Path(f"/proc/{launcher.ready.template}/environ").read_bytes()
    launcher.close()
    assert b"OPENGRID_NODE=/tmp/opengrid-node-0badcafe" in seen.split(b"\0")


def test_a_folder_that_others_can_enter_is_refused(fresh_spec: TemplateSpec) -> None:
    os.chmod(fresh_spec.directory, 0o755)
    with pytest.raises(Unusable, match="nobody else can enter"):
        ensure_template(fresh_spec)


def test_a_link_in_place_of_the_folder_is_refused(fresh_spec: TemplateSpec) -> None:
    link = f"{fresh_spec.directory}/link"
    os.symlink(tempfile.gettempdir(), link)
    with pytest.raises(Unusable):
        ensure_template(replace(fresh_spec, directory=link))


def test_a_path_too_long_for_a_socket_is_refused(fresh_spec: TemplateSpec) -> None:
    with pytest.raises(Unusable, match="107"):
        ensure_template(replace(fresh_spec, directory=f"{fresh_spec.directory}/{'x' * 100}"))


def test_an_interpreter_that_cannot_run_it_is_reported_with_its_words(fresh_spec: TemplateSpec) -> None:
    with pytest.raises(PreloadFailed, match="No such file"):
        ensure_template(replace(fresh_spec, python="/no/such/python"))
    with pytest.raises(PreloadFailed, match="can't open file"):
        ensure_template(replace(fresh_spec, program="/no/such.pyz"))


def test_the_probe_describes_the_interpreter_without_importing_torch(zipapp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(zipapp_path), "probe"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert found["versions"]["torch"] == version("torch")
    assert found["executable"] == sys.executable
    assert found["purelib"] in found["site_packages"]
    assert " torch\n" not in done.stderr
    assert "importlib.metadata" not in done.stderr
