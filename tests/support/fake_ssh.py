"""`ssh` and `ssh-keyscan` for tests: a folder for PATH, with hosts that are folders of this computer, or that fail.

A host's Python has a Ray that only says that it runs. What ssh itself prints was seen with OpenSSH 9.2.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

_SSH = """#!{python}
import json, os, sys
host = sys.argv[sys.argv.index("--") + 1]
about = json.loads(open({hosts!r}).read())[host.rpartition("@")[2]]
open({calls!r}, "a").write(json.dumps(sys.argv) + "\\n")
if "-G" in sys.argv:
    print("hostname 10.0.0.7\\nport 2222")
elif "says" in about:
    sys.stderr.write(about["says"])
    sys.exit(255)
else:
    print("Welcome to this computer!", flush=True)
    os.execve("/bin/sh", ["sh", "-c", sys.argv[-1]], about["environment"])
"""

#: Of a key of nobody. `ssh-keygen -l` shows 5rUUX5oM0nulpw69xksfW/TN9S+tfMrHpPhD+7cgTAg.
_KEYSCAN = """#!/bin/sh
echo "# $* SSH-2.0-OpenSSH_9.2p1"
echo "[10.0.0.7]:2222 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIHXNqS8d+uQz7uKiBQYJKFcUhlGd2Dx+iW0q9jFje8z"
"""

#: `ray start --block`, as far as inside/host.py goes; a child of its own dies with nothing but its mark.
_RAY = """
import os, subprocess, sys, time
if os.environ.get("FAKE_RAY_FAILS"):
    sys.exit("no memory for the object store")
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("Ray runtime started.", flush=True)
print("2026-11-25 23:49:44,669\tINFO scripts.py:1274 -- Process exit logs will be saved to: /tmp/x", flush=True)
time.sleep(600)
"""


class FakeHosts:
    """Hosts by name. `folder/bin` is for PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._hosts = folder, dict[str, dict[str, object]]()
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        hosts, calls = str(folder / "hosts.json"), str(folder / "calls")
        _program(self.bin / "ssh", _SSH.format(python=sys.executable, hosts=hosts, calls=calls))
        _program(self.bin / "ssh-keyscan", _KEYSCAN)

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    def refuse(self, name: str, says: str) -> None:
        self._add(name, {"says": says})

    def add(self, name: str, *, ray: str | None = "2.60.0", python: str = "", **environment: str) -> Path:
        """Add a host that answers; `python` is a program in the place of its interpreter. Return its home."""
        home = self.folder / name
        (home / "bin").mkdir(parents=True)
        (home / "tmp").mkdir()
        packages = home / "packages"
        for file, text in {
            "ray/__init__.py": "",
            "ray/dashboard/__init__.py": "",
            "ray/dashboard/optional_deps.py": "",
            "ray/scripts/__init__.py": "",
            "ray/scripts/scripts.py": _RAY,
            f"ray-{ray}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: ray\nVersion: {ray}\n",
        }.items():
            if ray is not None:
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                (packages / file).write_text(text)
        # -S: neither Ray nor torch of the interpreter that runs the tests
        _program(home / "bin" / "python3", python or f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
        for tool in ("sh", "grep", "mkdir", "cat", "chmod"):
            os.symlink(f"/bin/{tool}", home / "bin" / tool)
        number = len(self._hosts) + 1
        about = {
            "HOME": str(home),
            "PATH": str(home / "bin"),
            "TMPDIR": str(home / "tmp"),
            "PYTHONPATH": str(packages),
            "SSH_CONNECTION": f"10.0.0.99 5000 10.0.0.{number} 22",
            **environment,
        }
        self._add(name, {"environment": about})
        return home

    def _add(self, name: str, about: dict[str, object]) -> None:
        self._hosts[name] = about
        (self.folder / "hosts.json").write_text(json.dumps(self._hosts))


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
