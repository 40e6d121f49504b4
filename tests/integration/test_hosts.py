"""Hosts that clusters are made of: the real program is run there, by an ssh that only looks like one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.support.fake_ssh import FakeHosts

from opengrid.core.errors import GridError, InvalidValue, Unusable
from opengrid.engines.ray.hosts import Hosts
from opengrid.engines.ray.inside import host as inside
from opengrid.engines.ray.ssh import Host, Ssh, parse_host

TOKEN = "f00d" * 12
ID = "0badcafe"


@pytest.fixture
def fake(tmp_path: Path) -> FakeHosts:
    return FakeHosts(tmp_path / "hosts")


@pytest.fixture
def hosts(fake: FakeHosts) -> Hosts:
    path = f"{fake.bin}:{os.environ['PATH']}"
    return Hosts(Ssh({"PATH": path}, user="ada", here="lab-server"))


@pytest.fixture
def server() -> Iterator[str]:
    """What the hosts find of the server: something that answers."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def prepare(server: str, **more: object) -> dict[str, object]:
    return {"do": "prepare", "python": None, "id": ID, "install": [], "ray": "2.60.0", "server": server, **more}


def start(about: Mapping[str, object], gcs: str | None = None) -> dict[str, object]:
    more = {"id": ID, "token": TOKEN, "address": "127.0.0.1", "gcs": gcs, "anew": False}
    return {"do": "start", "python": about["path"], **more}


def order(do: str, **more: object) -> dict[str, object]:
    return {"do": do, "python": None, "id": ID, **more}


def refused(hosts: Hosts, host: str = "box", **more: object) -> Unusable:
    with pytest.raises(Unusable) as error:
        hosts.order(host, {"do": "look", "python": None, **more})
    return error.value


def test_hosts_are_named_as_people_name_them() -> None:
    assert parse_host("box1") == Host(name="box1")
    assert parse_host("ada@box1.lab:2222") == Host(name="box1.lab", user="ada", port=2222)
    assert parse_host("[fe80::1]:22") == Host(name="fe80::1", port=22)
    for text in ("", "-oProxyCommand=x", "box1;rm", "a b", "box:0", "box:99999", "@box", "$(id)", "box1\n"):
        with pytest.raises(InvalidValue):
            parse_host(text)


def test_nothing_is_asked_no_key_is_taken_and_no_secret_is_an_argument(
    fake: FakeHosts, hosts: Hosts, server: str
) -> None:
    fake.add("box")
    hosts.order("ada@box:2222", start(hosts.order("box", prepare(server))))
    try:
        call = fake.calls[-1]
        assert {"BatchMode=yes", "StrictHostKeyChecking=yes"} <= set(call)
        assert call[call.index("-p") + 1] == "2222"
        assert call[-3:-1] == ["--", "ada@box"]
        assert TOKEN not in json.dumps(fake.calls)
    finally:
        hosts.order("box", order("stop", forget=True))


def test_an_unknown_key_is_told_with_its_fingerprint_and_the_line_to_accept_it(fake: FakeHosts, hosts: Hosts) -> None:
    fake.refuse(
        "box",
        "No ED25519 host key is known for box and you have requested strict checking.\r\n"
        "Host key verification failed.\r\n",
    )
    error = refused(hosts, "ada@box:2222")
    assert error.message == (
        "its host key is not known here: ED25519 SHA256:5rUUX5oM0nulpw69xksfW/TN9S+tfMrHpPhD+7cgTAg"
    )
    assert "`ssh -p 2222 ada@box`" in (error.hint or "")
    assert "on lab-server, as ada" in (error.hint or "")


_CHANGED = """\
@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @
Offending ED25519 key in /home/ada/.ssh/known_hosts:7
Host key for [10.0.0.7]:2222 has changed and you have requested strict checking.
"""


@pytest.mark.parametrize(
    ("says", "message", "hint"),
    [
        (
            _CHANGED,
            "another one",
            "`ssh-keygen -f /home/ada/.ssh/known_hosts -R '[10.0.0.7]:2222'`",
        ),
        ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "another one", "`ssh-keygen -R box`"),
        ("ada@box: Permission denied (publickey).", "Permission denied (publickey)", "`ssh-copy-id box`"),
        ("ssh: connect to host box port 22: Connection refused", "Connection refused", "does `ssh box` work"),
        ("ssh: Could not resolve hostname box: Name or service not known", "Could not resolve", "does `ssh box` work"),
    ],
)
def test_what_ssh_says_is_told_with_what_to_do(
    fake: FakeHosts, hosts: Hosts, says: str, message: str, hint: str
) -> None:
    fake.refuse("box", f"{says}\r\n")
    error = refused(hosts)
    assert message in error.message
    assert hint in (error.hint or "")


def test_a_host_without_a_python_that_is_new_enough_is_told_with_those_it_has(fake: FakeHosts, hosts: Hosts) -> None:
    fake.add("box", python='#!/bin/sh\necho "Python 3.8.10"\nexit 1\n')
    assert refused(hosts).message == "it has no Python 3.10 or newer, only Python 3.8.10"
    assert refused(hosts, python="/opt/none").message == "/opt/none is no Python 3.10 or newer there"


def test_where_ray_is_missing_pip_brings_it_once_beside_the_python_that_is_there(
    fake: FakeHosts, hosts: Hosts, server: str
) -> None:
    home = fake.add("box", ray=None, python=_PYTHON)
    told: list[str] = []
    about = hosts.order("box", prepare(server, install=["torch"]), told.append)
    assert str(about["path"]).startswith(f"{home}/.opengrid/hosts/ray-2.60.0-")
    assert "pip: Collecting ray[default]==2.60.0 torch" in told
    (path_file,) = home.rglob("opengrid-base.pth")
    read = f"import site, sys; site.addsitedir({str(path_file.parent)!r})"
    ask = f"{read}; print(set(site.getsitepackages()) <= set(sys.path))"
    done = subprocess.run([sys.executable, "-S", "-c", ask], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True\n", "")  # what the interpreter has is still there
    told.clear()
    assert hosts.order("box", prepare(server, install=["torch"]), told.append) == about
    assert not told


def test_what_pip_cannot_bring_is_told_in_its_words_and_tried_anew(fake: FakeHosts, hosts: Hosts, server: str) -> None:
    fake.add("box", ray=None, python=_PYTHON, FAKE_PIP_FAILS="1")
    for _ in range(2):
        with pytest.raises(Unusable, match=r"pip could not install .*: ERROR: No matching distribution"):
            hosts.order("box", prepare(server))


def test_a_server_that_the_host_does_not_reach_is_told_before_anything_is_started(
    fake: FakeHosts, hosts: Hosts
) -> None:
    fake.add("box")
    with pytest.raises(Unusable, match=r"does not reach the server at http://127\.0\.0\.1:9: .*refused"):
        hosts.order("box", prepare("http://127.0.0.1:9"))


def test_ray_outlives_ssh_is_known_again_and_ends_with_all_it_has_started(
    fake: FakeHosts, hosts: Hosts, server: str
) -> None:
    home = fake.add("box")
    about = hosts.order("box", prepare(server))
    assert (about["ray"], hosts.order("box", order("look"))["address"]) == ("2.60.0", "10.0.0.1")
    first = hosts.order("box", start(about))
    again = hosts.order("box", start(about))
    assert (first["was_running"], again["was_running"], first["pid"] == again["pid"]) == (False, True, True)
    assert str(first["dashboard"]).startswith("http://127.0.0.1:")
    assert hosts.order("box", order("status"))["problem"] is None
    python = home / "tmp" / f"opengrid-node-{ID}" / "bin" / "python"  # what Ray's jobs find first on PATH
    assert subprocess.run([python, "-V"], capture_output=True, text=True).stdout.startswith("Python 3.")
    pids = of_node(home)
    assert len(pids) == 2
    for pid in pids:
        assert (
            TOKEN.encode() not in Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
        )
    token = home / ".opengrid" / "hosts" / ID / "token"
    assert (token.read_text(), token.stat().st_mode & 0o777) == (TOKEN, 0o600)
    assert os.getsid(int(str(first["pid"]))) == first["pid"]

    hosts.order("box", order("stop", forget=True))
    assert not of_node(home)
    assert not [*(home / "tmp").iterdir()]
    assert not token.exists()
    hosts.order("box", order("stop", forget=True))  # nothing is nothing to do


def test_a_node_that_has_ended_is_told_and_started_again(fake: FakeHosts, hosts: Hosts, server: str) -> None:
    home = fake.add("box")
    about = hosts.order("box", prepare(server))
    node = hosts.order("box", start(about, gcs="10.0.0.9:6379"))
    os.kill(int(str(node["pid"])), 9)
    assert hosts.order("box", order("status"))["problem"] == "Ray has ended: Ray runtime started."
    try:
        left = of_node(home)
        assert hosts.order("box", start(about, gcs="10.0.0.9:6379"))["was_running"] is False
        assert not set(left) & set(of_node(home))  # what the dead one left behind is ended first
        record = home / "tmp" / f"opengrid-node-{ID}" / "node.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "boot": "another"}))
        assert hosts.order("box", order("status"))["problem"] == "the computer was restarted"
    finally:
        hosts.order("box", order("stop", forget=True))
    assert "nothing was started there" in str(hosts.order("box", order("status"))["problem"])


def test_ray_that_does_not_start_is_told_in_its_own_words(fake: FakeHosts, hosts: Hosts, server: str) -> None:
    fake.add("box", FAKE_RAY_FAILS="1")
    told: list[str] = []
    with pytest.raises(Unusable, match="Ray did not start: no memory for the object store") as error:
        hosts.order("box", start(hosts.order("box", prepare(server))), told.append)
    assert told[-1] == "ray: no memory for the object store"
    assert "stands above" in (error.value.hint or "")


def test_a_program_that_breaks_there_is_told_with_its_last_words(fake: FakeHosts, hosts: Hosts) -> None:
    fake.add("box")
    with pytest.raises(GridError, match="ended with code 1: KeyError: 'fly'"):
        hosts.order("box", {"do": "fly", "python": None})


#: An interpreter whose venv has a pip that answers as pip does.
_PYTHON = f"""#!/bin/sh
if [ "$1 $2" != "-m venv" ]; then exec {sys.executable} -S "$@"; fi
mkdir -p "$4/bin" "$4/lib"
cat > "$4/bin/python" << END
#!/bin/sh
case "\\$*" in
  *getsitepackages*) echo '["$4/lib"]' ;;
  "-m pip install"*)
    if [ "$FAKE_PIP_FAILS" ]; then echo "ERROR: No matching distribution found for ray"; echo "WARNING: old"; exit 1; fi
    shift 5; echo "Collecting \\$*" ;;
  *) echo '{{"python": "3.11.7", "ray": "2.60.0", "torch": null}}' ;;
esac
END
chmod +x "$4/bin/python"
"""


def of_node(home: Path) -> list[int]:
    """Return the processes of a host's node."""
    mark = f"OPENGRID_NODE={home}/tmp/opengrid-node-{ID}".encode()
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_the_program_for_hosts_stands_alone() -> None:
    assert Path(inside.__file__).read_text().isascii()  # whatever a host's own encoding is
    assert "opengrid" not in {
        line.split()[1].partition(".")[0]
        for line in Path(inside.__file__).read_text().splitlines()
        if line.startswith(("import ", "from "))
    }
