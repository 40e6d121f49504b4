"""engines.ray.render: the command that Ray runs on a head, carried out with a program that the test serves."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import shlex
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from opengrid.engines.engine import Submission
from opengrid.engines.ray.inside.marks import NEVER
from opengrid.engines.ray.render import Home, Program, job_of

DRIVER = """
def main(arguments):
    print(arguments, __file__)
    raise KeyboardInterrupt  # however it ends
"""


@pytest.fixture
def driver() -> str:
    """What the served program's driver is."""
    return DRIVER


@pytest.fixture
def program(driver: str) -> Iterator[Program]:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for folder in ("opengrid", "opengrid/engines", "opengrid/engines/ray", "opengrid/engines/ray/inside"):
            archive.writestr(f"{folder}/__init__.py", "")
        archive.writestr("opengrid/engines/ray/inside/driver.py", driver)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content.getvalue())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    yield Program(url=f"http://127.0.0.1:{server.server_port}/program", digest=digest)
    server.shutdown()
    server.server_close()


def run(program: Program, folder: Path) -> subprocess.CompletedProcess[str]:
    home = Home(url="http://127.0.0.1:9", certificate=None)
    submission = Submission(attempt_id="r1e0-1", agents=())
    job = job_of(submission, program=program, home=home, work_dir="/w", python=sys.executable)
    command = shlex.split(str(job["entrypoint"]))
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.run(command[1:], env=environment, capture_output=True, text=True, timeout=60)


def test_a_driver_is_given_the_request_and_leaves_nothing_on_the_heads_disk(program: Program, tmp_path: Path) -> None:
    done = run(program, tmp_path)
    assert str([program.digest, "http://127.0.0.1:9", "r1e0-1", "/w", "[]"]) in done.stdout, done
    assert not list(tmp_path.iterdir())


def test_a_program_that_is_not_the_one_that_was_meant_is_not_run(program: Program, tmp_path: Path) -> None:
    done = run(dataclasses.replace(program, digest="0" * 64), tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not what it should be" in done.stderr


@pytest.mark.parametrize("driver", ["import a_module_that_nobody_has", "this is of another Python"])
def test_a_driver_that_its_interpreter_cannot_run_says_that_it_never_will(program: Program, tmp_path: Path) -> None:
    done = run(program, tmp_path)
    assert (done.returncode, done.stdout) == (NEVER, "")
    assert done.stderr.startswith(f"the cluster's head cannot run the driver with {sys.executable}: ")
    assert len(done.stderr.splitlines()) == 1
