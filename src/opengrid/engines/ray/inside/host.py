"""A host of a cluster that we start Ray on: what is done there, in one program that ssh brings by its standard input.

It runs on a bare Python: the standard library alone, nothing of ours. The order comes behind this text, so that no
secret is in an argument or a variable; what it has to tell goes to stdout, line by line. Two folders are ours there:
`~/.opengrid/hosts`, which several hosts may share, for environments and tokens, and one in /tmp, the host's own. All
processes of a node carry the latter's path in their environment, and by that alone they are found and ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator
from typing import Any

#: The first word of what is told; a login shell may print lines of its own.
TOLD = "opengrid-host "

#: What a node's processes carry in their environment, with the node's folder as value.
_MARK = "OPENGRID_NODE"

#: Ports that Ray would take by itself, and the next ones where those are taken.
_PORTS = {"port": 6379, "dashboard": 8265, "client": 10001, "agent": 52365}

#: Where people have their Python, beside PATH.
PLACES = ("~/miniconda3", "~/miniforge3", "~/anaconda3", "/opt/conda", "~/venv", "~/.venv")

#: Ray up: 9 s on an idle computer, 42 s on one with a high load.
_START_S, _END_S = 180.0, 10.0

#: So many lines of a Ray that did not start are shown.
_LAST_LINES = 10

#: What a Python has; Ray counts when it has its API and tokens, which came with 2.52.
_PROBE = """
import importlib.metadata as m, json, sys
def v(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
found = v("ray")
if found is not None and tuple(map(int, found.split(".")[:2])) < (2, 52): found = None
if found is not None:
    try: import ray.dashboard.optional_deps
    except Exception: found = None
python = "%d.%d.%d" % sys.version_info[:3]
print(json.dumps({"python": python, "ray": found, "torch": v("torch")}))
"""

#: The packages of another Python, path files included: a venv made from a venv would not see them.
_SEE = "import site; site.addsitedir({folder!r})\n"

_SITES = """
import json, site
print(json.dumps(site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])))
"""


class Failed(Exception):
    """The order cannot be carried out; the words say why, and the hint what to do."""

    def __init__(self, words: str, hint: str = "") -> None:
        super().__init__(words)
        self.words, self.hint = words, hint


def main(order: dict[str, Any]) -> None:
    """Carry out one order and tell what came of it."""
    try:
        done = _ORDERS[order["do"]](order)
    except Failed as error:
        _tell("failed", words=error.words, hint=error.hint)
    except OSError as error:
        words = f"{error.filename or order['do']}: {error.strerror or error}"
        _tell("failed", words=words, hint="is there space on the disk there, and may that user write?")
    else:
        _tell("done", **done)


def look(order: dict[str, Any]) -> dict[str, Any]:
    """Return where others reach this host."""
    return {"address": _own_address()}


def prepare(order: dict[str, Any]) -> dict[str, Any]:
    """See that the server is reached from here, and find a Python with Ray, or make one."""
    _check_way(order["server"])
    own = order["python"]
    candidates = [os.path.expanduser(own)] if own else _candidates()
    found = [about for about in map(_about, candidates) if about is not None]
    if not found:
        raise Failed(f"{own or 'no Python there'} does not run", "`--python PATH` names an interpreter")
    best = max(found, key=lambda about: (about["torch"] is not None, about["ray"] is not None))
    if best["ray"] is None or order["install"]:
        best = _environment(best, order["ray"], order["install"])
    return {**best, "others": _other_rays(order["id"])}


def start(order: dict[str, Any]) -> dict[str, Any]:
    """Start Ray, unless it runs; with `gcs` as a node of the cluster there, without as its head.

    `anew` ends one that runs before: it belonged to a head that is gone.
    """
    id, address = order["id"], order["address"]
    folder, known = _folder(id), _node(id)
    if known is not None and _is_alive(known) and not order["anew"]:
        return {**known, "was_running": True}
    stop({"id": id, "forget": False})
    os.makedirs(folder, mode=0o700, exist_ok=True)
    _check_own(folder)
    token = os.path.join(_home("hosts", id), "token")
    _write(token, order["token"])
    ports = {name: _free_port(port) for name, port in _PORTS.items()}
    arguments = [
        f"--node-ip-address={address}",
        f"--temp-dir={folder}/ray",
        f"--dashboard-agent-listen-port={ports['agent']}",
        "--disable-usage-stats",
        "--block",
    ]
    if order["gcs"] is None:
        arguments += ["--head", f"--port={ports['port']}", f"--dashboard-port={ports['dashboard']}"]
        arguments += [f"--dashboard-host={address}", f"--ray-client-server-port={ports['client']}"]
    else:
        arguments += [f"--address={order['gcs']}"]
    _tell("progress", text="starting Ray" + ("" if order["gcs"] else " as the head"))
    _write_program(f"{folder}/bin/python", order["python"])
    process = _spawn(order["python"], arguments, _environment_of(id, token), f"{folder}/start.log")
    known = {
        "pid": process.pid,
        "started": _started(process.pid),
        "boot": _boot(),
        "address": address,
        "gcs": order["gcs"] or f"{address}:{ports['port']}",
        "dashboard": None if order["gcs"] else f"http://{address}:{ports['dashboard']}",
    }
    _write(f"{folder}/node.json", json.dumps(known))
    deadline = time.monotonic() + _START_S
    while "Ray runtime started" not in _read(f"{folder}/start.log"):
        if process.poll() is not None:
            raise _not_started("Ray did not start", folder)
        if time.monotonic() > deadline:
            stop({"id": id, "forget": False})  # else the next try would take it for one that runs
            raise _not_started(f"Ray was not up after {_START_S:g} s", folder)
        time.sleep(0.1)
    return {**known, "was_running": False}


def status(order: dict[str, Any]) -> dict[str, Any]:
    """Tell whether Ray runs here; `problem` says why it does not."""
    known = _node(order["id"])
    if known is None:
        return {"problem": "nothing was started there, or the computer has lost it in a restart"}
    if known["boot"] != _boot():
        return {"problem": "the computer was restarted"}
    if not _is_alive(known):
        return {"problem": f"Ray has ended: {_last_words(_folder(order['id']))}"}
    return {"problem": None}


def stop(order: dict[str, Any]) -> dict[str, Any]:
    """End every process of the node, and nothing else; with `forget` remove what it left."""
    id, known = order["id"], _node(order["id"])
    if known is not None and _is_alive(known):
        _kill(known["pid"], signal.SIGTERM)  # Ray ends its own in their order
        deadline = time.monotonic() + _END_S
        while _is_alive(known) and time.monotonic() < deadline:
            time.sleep(0.05)
    deadline = time.monotonic() + _END_S
    while pids := _marked(id):
        if time.monotonic() > deadline:
            raise Failed(
                f"processes do not end: {', '.join(map(str, pids))}",
                "they wait for a disk or a GPU that does not answer, or were started anew; `ps -p` there shows which",
            )
        for pid in pids:
            _kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    if order["forget"]:
        if os.path.isdir(_folder(id)):
            _check_own(_folder(id))
            shutil.rmtree(_folder(id))
        shutil.rmtree(_home("hosts", id), ignore_errors=True)  # which another host may be about to do
    return {}


def logs(order: dict[str, Any]) -> dict[str, Any]:
    """Return the last lines of the files that tell why a node does not do what it should."""
    folder, paths = _folder(order["id"]), dict[str, str]()
    if os.path.isdir(folder):
        _check_own(folder)
        paths["start.log"] = f"{folder}/start.log"
        for name in order["names"]:
            paths[name] = f"{folder}/ray/session_latest/logs/{name}"
    files = {name: _tail(path, order["limit"]) for name, path in paths.items() if os.path.isfile(path)}
    return {"files": files, "utc_offset_s": time.localtime().tm_gmtoff}


_ORDERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "look": look,
    "prepare": prepare,
    "start": start,
    "status": status,
    "stop": stop,
    "logs": logs,
}


# The Python that Ray runs with


def _candidates() -> list[str]:
    """Return the interpreters there are, those of PATH first; each once."""
    found = [shutil.which(name) for name in ("python3", "python", *(f"python3.{minor}" for minor in range(14, 9, -1)))]
    found += [os.path.expanduser(f"{place}/bin/python") for place in PLACES]
    once = {os.path.abspath(path): None for path in found if path and os.access(path, os.X_OK)}
    return list(once)


def _about(python: str) -> dict[str, Any] | None:
    """Return what an interpreter has; None when it does not run or is too old."""
    try:
        done = subprocess.run([python, "-c", _PROBE], capture_output=True, text=True, timeout=60, check=True)
        about: dict[str, Any] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return {**about, "path": python} if tuple(map(int, about["python"].split("."))) >= (3, 10) else None


def _environment(base: dict[str, Any], ray: str, install: list[str]) -> dict[str, Any]:
    """Return an environment with Ray and what is to be installed, made on top of `base` unless it is there."""
    wanted = [f"ray[default]=={ray}", *install]
    key = hashlib.sha256(json.dumps([base["path"], base["python"], wanted]).encode()).hexdigest()[:8]
    folder = os.path.join(_home("hosts"), f"ray-{ray}-{key}")
    with _locked(f"{folder}.lock"):
        if not os.path.exists(f"{folder}/whole"):
            _make_environment(base["path"], folder, wanted)
    made = _about(f"{folder}/bin/python")
    if made is None or made["ray"] is None:
        raise Failed(f"{folder} was made, and Ray does not run in it", f"remove {folder} there, and try again")
    return made


def _make_environment(base: str, folder: str, wanted: list[str]) -> None:
    _tell("progress", text=f"making an environment with {' '.join(wanted)} for {base}")
    made = subprocess.run([base, "-m", "venv", "--clear", folder], check=False, capture_output=True, text=True)
    if made.returncode != 0:
        raise Failed(
            f"{base} cannot make an environment: {_last(made.stdout + made.stderr)}",
            "Debian and Ubuntu have that in the package python3-venv; or `--python PATH` names another interpreter",
        )
    with open(os.path.join(_sites(f"{folder}/bin/python")[0], "opengrid-base.pth"), "w") as file:
        file.writelines(_SEE.format(folder=other) for other in _sites(base))
    last = ""
    with subprocess.Popen(
        [f"{folder}/bin/python", "-m", "pip", "install", "--progress-bar", "off", *wanted],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as pip:
        assert pip.stdout is not None  # noqa: S101 - asked for
        for line in pip.stdout:
            if line.strip():
                last = line.strip() if line.startswith("ERROR") or not last.startswith("ERROR") else last
                _tell("progress", text=f"pip: {line.strip()}")
    if pip.returncode != 0:
        raise Failed(f"pip could not install {' '.join(wanted)}: {last}", "does that computer reach the package index?")
    _write(f"{folder}/whole", "")


def _sites(python: str) -> list[str]:
    done = subprocess.run([python, "-c", _SITES], check=True, capture_output=True, text=True)
    folders: list[str] = json.loads(done.stdout)
    return folders


# The way between the host and others


def _check_way(server: str) -> None:
    """Raise Failed when the server does not answer from here."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is told, and nothing believed
    near = server.split("/")[2].rpartition(":")[0] in ("127.0.0.1", "localhost", "[::1]")
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({} if near else None), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(f"{server}/healthz", timeout=10) as answer:
            answer.read()
    except OSError as error:
        raise Failed(
            f"it does not reach the server at {server}: {getattr(error, 'reason', error)}",
            "is there a firewall? GRID_PUBLIC_URL names another way to the server",
        ) from error


def _own_address() -> str:
    """Return the address that ssh came to; where that tells nothing to others, the one towards the world."""
    came_to = "".join(os.environ.get("SSH_CONNECTION", "").split()[2:3])
    if "." in came_to and not came_to.startswith("127."):
        return came_to
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _free_port(first: int) -> int:
    """Return the first free port of twenty, else any."""
    for port in range(first, first + 20):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("", port))
            return port
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


# Ray's processes


def _spawn(python: str, arguments: list[str], environment: dict[str, str], log: str) -> subprocess.Popen[bytes]:
    """Start `ray start` in a session of its own, which the end of ssh does not touch."""
    with open(log, "wb") as file:
        return subprocess.Popen(
            [python, "-m", "ray.scripts.scripts", "start", *arguments],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def _write_program(path: str, python: str) -> None:
    """Write what `python` is for Ray's jobs: the interpreter that Ray runs with, which may have another name."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    _write(path, f'#!/bin/sh\nexec {shlex.quote(python)} "$@"\n')
    os.chmod(path, 0o700)


def _environment_of(id: str, token: str) -> dict[str, str]:
    """Return what Ray sees: the host's own, its Python first on PATH, and the token as a file."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SSH_", "RAY_AUTH_"))}
    path = f"{_folder(id)}/bin:{kept.get('PATH', os.defpath)}"
    return {
        # A partition is noticed after half a minute rather than after one.
        "RAY_health_check_timeout_ms": "5000",
        "RAY_health_check_failure_threshold": "4",
        "RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL": "minor",
        "RAY_raylet_start_wait_time_s": "120",  # a node of a busy host is not up in Ray's own 30 s
        **kept,
        "PATH": path,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": token,
        _MARK: _folder(id),
    }


def _node(id: str) -> dict[str, Any] | None:
    """Return what was started here."""
    if not os.path.isdir(_folder(id)):
        return None
    _check_own(_folder(id))
    text = _read(f"{_folder(id)}/node.json")
    return json.loads(text) if text else None


def _is_alive(known: dict[str, Any]) -> bool:
    return known["boot"] == _boot() and _started(known["pid"]) == known["started"]


def _started(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since the boot; None for one that has ended."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) if fields and fields[0] not in ("Z", "X") else None


def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id").strip()


def _marked(id: str) -> list[int]:
    """Return the living processes of a node."""
    mark = f"{_MARK}={_folder(id)}".encode()
    found: list[int] = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.append(int(name))
        except OSError:
            continue  # another user's, or gone
    return found


def _other_rays(id: str) -> list[int]:
    """Return the nodes of other Rays on this computer."""
    own = set(_marked(id))
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return sorted(pid for pid in pids if pid not in own and _read(f"/proc/{pid}/comm").strip() == "raylet")


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


# Files


def _folder(id: str) -> str:
    """Return the node's folder; the cluster's id is random, so nobody can have made it before us."""
    return os.path.join(tempfile.gettempdir(), f"opengrid-node-{id}")


def _home(*names: str) -> str:
    folder = os.path.join(os.path.expanduser("~/.opengrid"), *names)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


def _check_own(folder: str) -> None:
    about = os.lstat(folder)
    if about.st_uid != os.geteuid() or os.path.islink(folder):
        raise Failed(f"{folder} belongs to somebody else", "remove it there")


@contextlib.contextmanager
def _locked(path: str) -> Generator[None]:
    """Hold a lock that hosts with the same home share: they would make the same environment at once."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _tell("progress", text="waiting for another host, which makes the environment in the same home")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: str, text: str) -> None:
    partial = f"{path}.{socket.gethostname()}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(partial)  # of a process with this number that was killed
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(text)
    os.replace(partial, path)


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _tail(path: str, lines: int) -> list[str]:
    """Return the last lines of a file, of at most 256 bytes each on average."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - lines * 256))
        found = file.read().decode(errors="replace").splitlines()
    return found[-lines:]


def _not_started(words: str, folder: str) -> Failed:
    """Return what to say of a Ray that is not up, and tell the last lines that it wrote."""
    for line in _tail(f"{folder}/start.log", _LAST_LINES):
        _tell("progress", text=f"ray: {line}")
    return Failed(f"{words}: {_last_words(folder)}", "what it wrote last stands above; is another Ray at work there?")


def _last_words(folder: str) -> str:
    return _last(_read(f"{folder}/start.log"))


def _last(text: str) -> str:
    """Return the last line that may tell why something ended."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and "\tINFO " not in line]
    return lines[-1] if lines else "it wrote nothing"


def _tell(kind: str, **what: object) -> None:
    print(TOLD + json.dumps({"kind": kind, **what}), flush=True)
