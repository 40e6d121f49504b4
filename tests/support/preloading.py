"""Arranges preloaded launches for tests: the zipapp, one template per session, a bench that runs scripts as ranks."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import tempfile
import textwrap
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import opengrid
from opengrid.core.spec import Program, ProgramKind
from opengrid.node import spawn
from opengrid.node.preload.client import TemplateSpec, connect_launcher
from opengrid.node.preload.connection import Event, Launcher
from opengrid.node.preload.messages import Cleared, RankExited, RankStart, RankStarted
from opengrid.node.probe import probe

#: Generous: the machine may be loaded.
DEADLINE_S = 90.0

_MAIN = """
import sys
command, *arguments = sys.argv[1:]
if command == "template":
    from opengrid.node.preload.template import template_main as main
elif command == "rank":
    from opengrid.node.rank import rank_main as main
elif command == "probe":
    from opengrid.node.probe import probe_main as main
elif command == "sweep":
    from opengrid.node.spawn import sweep_main as main
sys.exit(main(arguments))
"""


@pytest.fixture(scope="session")
def zipapp_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """core and node in a zip, as an agent's machine gets them."""
    root = Path(opengrid.__file__).parent
    path = tmp_path_factory.mktemp("zipapp") / "agent.pyz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("__main__.py", _MAIN)
        archive.write(root / "__init__.py", "opengrid/__init__.py")
        for part in ("core", "node"):
            for file in sorted((root / part).rglob("*.py")):
                archive.write(file, f"opengrid/{file.relative_to(root)}")
    return path


@pytest.fixture(scope="session")
def run_directory() -> Iterator[str]:
    """A short folder for sockets."""
    path = tempfile.mkdtemp(prefix="og-", dir="/tmp")
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def torch_spec(zipapp_path: Path, run_directory: str) -> Iterator[TemplateSpec]:
    """The session's one template with torch."""
    pytest.importorskip("torch")
    spec = TemplateSpec(
        python=sys.executable,
        program=str(zipapp_path),
        preload=("torch", "torch.distributed", "numpy", "no_such_module"),
        site_packages=probe().site_packages,
        directory=run_directory,
    )
    launcher = connect_launcher(spec)
    launcher.close()
    yield spec
    spawn.kill(launcher.ready.template, signal.SIGKILL)


@pytest.fixture(scope="session")
def plain_spec(zipapp_path: Path, run_directory: str) -> Iterator[TemplateSpec]:
    """A template with nothing preloaded, ready in milliseconds."""
    spec = TemplateSpec(python=sys.executable, program=str(zipapp_path), preload=(), directory=run_directory)
    launcher = connect_launcher(spec)
    launcher.close()
    yield spec
    spawn.kill(launcher.ready.template, signal.SIGKILL)


class Bench:
    """Runs programs as ranks of one launcher and looks at what they left."""

    def __init__(self, launcher: Launcher, directory: Path) -> None:
        self.launcher = launcher
        self.directory = directory
        self.started: dict[int, RankStarted] = {}
        self.exited: dict[int, RankExited] = {}
        self.seen: list[Event] = []

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def rank(
        self,
        program: Program,
        number: int = 0,
        *,
        preloaded: bool = True,
        overlay: Path | None = None,
        **environment: str,
    ) -> RankStart:
        return RankStart(
            rank=number,
            program=program,
            environment={
                "PATH": os.environ["PATH"],
                "HOME": os.environ.get("HOME", "/"),
                "RANK": str(number),
                **environment,
            },
            directory=str(self.directory),
            stdout=str(self.directory / f"{number}.out"),
            stderr=str(self.directory / f"{number}.err"),
            title=f"grid brave-otter rank {number}: {program.target}",
            error_file=str(self.directory / f"{number}.error.json"),
            stacks=str(self.directory / f"{number}.stacks"),
            overlay=str(overlay) if overlay else None,
            preloaded=preloaded,
        )

    def start(self, *ranks: RankStart) -> None:
        for rank in ranks:
            self.started.pop(rank.rank, None)
            self.exited.pop(rank.rank, None)
        self.launcher.start(ranks)
        self.until(lambda: all(rank.rank in self.started for rank in ranks))

    def script(self, text: str, *arguments: str, preloaded: bool = True, **environment: str) -> int:
        """Run a script as rank 0 to its end; return its exit code."""
        self.write("script.py", text)
        program = Program(kind=ProgramKind.SCRIPT, target="script.py", arguments=arguments)
        return self.finish(self.rank(program, preloaded=preloaded, **environment))

    def finish(self, *ranks: RankStart) -> int:
        """Run ranks to their ends; return the largest exit code."""
        self.start(*ranks)
        self.until(lambda: all(rank.rank in self.exited for rank in ranks))
        return max(self.exited[rank.rank].exit_code for rank in ranks)

    def out(self, number: int = 0) -> str:
        return _text(self.directory / f"{number}.out")

    def err(self, number: int = 0) -> str:
        return _text(self.directory / f"{number}.err")

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            select.select([self.launcher], [], [], 0.05)
            for event in self.launcher.events():
                self.seen.append(event)
                if isinstance(event, RankStarted):
                    self.started[event.rank] = event
                elif isinstance(event, RankExited):
                    self.exited[event.rank] = event
            assert time.monotonic() < deadline, f"not in time; {self.seen}; {self._errors()}"

    def clear(self) -> None:
        self.launcher.clear()
        self.until(lambda: any(isinstance(event, Cleared) for event in self.seen))

    def _errors(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in self.directory.glob("*.err"))


@pytest.fixture
def torch_bench(torch_spec: TemplateSpec, tmp_path: Path) -> Iterator[Bench]:
    """A launcher with torch."""
    yield from _bench(torch_spec, tmp_path)


@pytest.fixture
def plain_bench(plain_spec: TemplateSpec, tmp_path: Path) -> Iterator[Bench]:
    """A launcher without torch."""
    yield from _bench(plain_spec, tmp_path)


def _bench(spec: TemplateSpec, directory: Path) -> Iterator[Bench]:
    launcher = connect_launcher(spec)
    yield Bench(launcher, directory)
    launcher.close()


def _text(path: Path) -> str:
    return path.read_bytes().decode() if path.exists() else ""
