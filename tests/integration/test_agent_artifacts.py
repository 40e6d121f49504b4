"""Real agents collect what their ranks write."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from tests.conftest import missing
from tests.support.agents import AgentBench
from tests.support.gang_server import DEADLINE_S

from opengrid.core.errors import Unusable
from opengrid.core.files import file_digest
from opengrid.core.protocol import ArtifactFile, Ended, Exited, Phase, Released, Unsaved
from opengrid.node.contents import digest_as_scanned, opened, stage, version_of


@pytest.fixture(autouse=True)
def fast(bench: AgentBench) -> None:
    bench.options += ["--settle_s", "0.2"]


def arrived(bench: AgentBench, path: str, content: bytes, node: int = 0) -> None:
    bench.server.until(lambda: bench.server.artifact(path, node) == content, f"{path} of node {node}")


_WRITES_AND_WAITS = """
import os, time
node = os.environ["GROUP_RANK"]
os.makedirs("logs/a b", exist_ok=True)
open("logs/a b/same", "w").write("same content")
open("logs/own", "w").write(f"node {node}")
open("script.py", "a").write("# changed")
open("pkg/data.txt", "w").write("changed")
while not os.path.exists("go"):
    time.sleep(0.01)
open("logs/own", "a").write(", changed")
open("last", "wb").write(bytes(3_000_000))
"""


@pytest.mark.parametrize("shares_disk", [True, False], ids=["staged", "http"])
def test_new_files_of_every_node_come_while_ranks_run_and_in_the_end(bench: AgentBench, shares_disk: bool) -> None:
    bench.assign(_WRITES_AND_WAITS, ranks=(1, 1), collects=True, shares_disk=shares_disk)
    bench.start()
    bench.run()
    for node in (0, 1):
        arrived(bench, "logs/a b/same", b"same content", node)
        arrived(bench, "logs/own", f"node {node}".encode(), node)
        (bench.folder / f"work/node{node}/go").touch()
    bench.until_ended()
    bench.release()
    for node in (0, 1):
        assert bench.server.artifact("logs/own", node) == f"node {node}, changed".encode()
        assert bench.server.artifact("last", node) == bytes(3_000_000)
    paths = {path for _, path in bench.server.artifacts}
    assert paths == {"logs/a b/same", "logs/own", "last", "go"}
    # The same content of both nodes is sent by one of them.
    assert len(bench.server.received) == len(set(bench.server.received))
    assert bench.server.of(Unsaved) == []


def test_names_of_all_kinds_come_and_what_is_no_file_does_not(bench: AgentBench) -> None:
    bench.assign(
        r"""
        import os, socket
        for name in ("a b", "ü数", "line\nbreak", "-rf", "x" * 255, "\udcff"):
            open(name, "w").write(name.encode("utf-8", "backslashreplace").decode())
        os.mkfifo("pipe")
        socket.socket(socket.AF_UNIX).bind("socket")
        os.symlink("/etc/hostname", "out")
        os.symlink(".", "up")
        os.symlink("a b", "in")
        for skipped in (".git", "__pycache__"):
            os.mkdir(skipped)
            open(f"{skipped}/x", "w").close()
        with open("sparse", "wb") as file:
            file.truncate(50_000_000)
        """,
        collects=True,
    )
    bench.start()
    bench.run()
    bench.until_ended()
    bench.release()
    plain = ("a b", "ü数", "line\nbreak", "-rf", "x" * 255)
    assert {path for _, path in bench.server.artifacts} == {*plain, "\\xff", "in", "sparse"}
    assert all(bench.server.artifact(name) == name.encode() for name in plain)
    assert bench.server.artifact("in") == b"a b"
    assert bench.server.artifact("sparse") == bytes(50_000_000)


def test_no_file_waits_for_a_larger_one(bench: AgentBench) -> None:
    bench.assign(
        """
        import os
        node = os.environ["GROUP_RANK"]
        with open("a large one", "wb") as file:
            file.write(node.encode())
            file.truncate(100_000_000)
        open("small", "w").write(node)
        """,
        ranks=(1, 1),
        collects=True,
        shares_disk=False,
    )
    bench.start()
    bench.run()
    bench.until_ended()
    bench.release()
    for node in (0, 1):
        small, large = (bench.server.artifacts[node, name].sha256 for name in ("small", "a large one"))
        assert bench.server.received.index(small) < bench.server.received.index(large)


def test_what_failed_and_stopped_ranks_have_written_is_kept_and_released_only_then(bench: AgentBench) -> None:
    bench.assign(
        """
        import os, time
        open("mine", "w").write("mine")
        if os.environ["GROUP_RANK"] == "1":
            os._exit(3)
        print("up", flush=True)
        time.sleep(600)
        """,
        ranks=(1, 1),
        collects=True,
    )
    bench.start()
    bench.run()
    bench.wait_for_log(b"up")
    bench.server.until(lambda: bool(bench.server.of(Exited)), "the failure of rank 1")
    bench.server.stop_ranks(1, terminate=True, grace_s=0)
    bench.until_ended()
    bench.server.lose = {"artifacts": 3}
    bench.release()
    assert bench.server.artifact("mine", 0) == bench.server.artifact("mine", 1) == b"mine"


def test_a_server_that_dies_in_the_middle_gets_everything_when_it_is_back(bench: AgentBench) -> None:
    bench.assign(
        """
        import os, time
        for number in range(300):
            open(f"f{number}", "w").write(str(number))
        print("written", flush=True)
        while not os.path.exists("go"):
            time.sleep(0.01)
        """,
        collects=True,
    )
    bench.start()
    bench.run()
    bench.wait_for_log(b"written")
    bench.server.until(lambda: len(bench.server.received) > 20, "some contents")
    bench.server.kill()
    (bench.folder / "work/node0/go").touch()
    bench.server.start()
    bench.until_ended()
    bench.release()
    assert all(bench.server.artifact(f"f{number}") == str(number).encode() for number in range(300))


def test_a_full_disk_of_the_server_is_named_and_harms_nothing(bench: AgentBench) -> None:
    bench.server.refuse_contents = Unusable("no space left below /grid")
    bench.assign("for name in 'abc': open(name, 'w').write(name)", collects=True)
    bench.start()
    bench.run()
    bench.until_ended()
    bench.release()
    (unsaved,) = bench.server.of(Unsaved)
    assert [(file.path, file.reason) for file in unsaved.files] == [(n, "no space left below /grid") for n in "abc"]
    assert isinstance(bench.server.facts[0][-1], Released)


def test_what_cannot_be_read_is_named_and_the_rest_is_kept(bench: AgentBench) -> None:
    bench.assign(
        """
        import os
        open("good", "w").write("good")
        for _ in range(25):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
        open("bad", "w").write("too deep")
        """,
        collects=True,
    )
    bench.start()
    bench.run()
    bench.until_ended()
    bench.release()
    assert bench.server.artifact("good") == b"good"
    (unsaved,) = bench.server.of(Unsaved)
    assert (unsaved.total, unsaved.files[0].reason) == (1, "File name too long")


def test_files_that_come_and_go_trouble_nobody(bench: AgentBench) -> None:
    bench.assign(
        """
        import os, time
        end = time.monotonic() + 0.8
        while time.monotonic() < end:
            open("temporary", "w").write("x")
            os.rename("temporary", "final")
            open("growing", "a").write("x")
            open(f"gone", "w").write("x")
            os.unlink("gone")
        """,
        collects=True,
    )
    bench.start()
    bench.run()
    bench.until_ended()
    bench.release()
    assert {path for _, path in bench.server.artifacts} == {"final", "growing"}
    assert bench.server.artifact("growing") == (bench.folder / "work/node0/growing").read_bytes()
    assert bench.server.of(Unsaved) == []


def test_what_another_machine_was_to_bring_and_does_not_is_brought_by_this_one(bench: AgentBench) -> None:
    content = b"a data set"
    digest = hashlib.sha256(content).hexdigest()
    bench.server.claims.claim("attempt", 7, {digest})
    bench.assign(f"open('data', 'wb').write({content!r})", collects=True)
    bench.start()
    bench.run()
    bench.until_ended()
    bench.server.until(lambda: digest in bench.server.offered, "an offer of it")
    assert bench.server.artifact("data") is None
    bench.server.claims.claim("attempt", 7, set())  # it offers something else: it could not bring this
    bench.release()
    assert bench.server.artifact("data") == content
    assert bench.server.of(Unsaved) == []


def test_a_machine_that_leaves_removes_nothing_of_one_that_still_has_something_to_bring(bench: AgentBench) -> None:
    content = b"a data set"
    digest = hashlib.sha256(content).hexdigest()
    bench.options += ["--work", "remove"]
    bench.server.claims.claim("attempt", 7, {digest})
    script = f"import os\nif os.environ['RANK'] == '0': open('data', 'wb').write({content!r})"
    bench.assign(script, ranks=(1, 1), collects=True)
    bench.start()
    bench.run()
    bench.until_ended()
    bench.server.until(lambda: digest in bench.server.offered, "an offer of it")
    bench.server.tell(1, Phase.RELEASED)
    assert bench.agents[1].wait(DEADLINE_S) == 0
    bench.server.claims.claim("attempt", 7, set())
    bench.release()
    assert bench.server.artifact("data") == content
    assert bench.server.of(Unsaved) == []
    assert not (bench.folder / "work").exists()


def test_machines_that_share_a_folder_collect_it_once(bench: AgentBench) -> None:
    bench.assign("import os; open(os.environ['RANK'], 'w').write('x')", ranks=(1, 1), collects=True, simulated=False)
    bench.start()
    bench.run()
    bench.until_ended()
    bench.release()
    assert sorted(path for _, path in bench.server.artifacts) == ["0", "1"]


def test_a_later_generation_keeps_what_an_earlier_one_wrote(bench: AgentBench) -> None:
    bench.assign("import os; g = os.environ['GRID_GENERATION']; open(g, 'w').write(g); assert g == '2'", collects=True)
    bench.start()
    bench.run(1)
    bench.until_ended(1)
    bench.run(2)
    bench.until_ended(2)
    bench.release(2)
    assert (bench.server.artifact("1"), bench.server.artifact("2")) == (b"1", b"2")
    assert len(bench.server.of(Ended)) == 2


def test_a_nearly_full_disk_is_left_to_the_training(bench: AgentBench, tmp_path: Path) -> None:
    disk = tmp_path / "staging-0"
    bench.assign("open('big', 'wb').write(bytes(3_000_000)); open('small', 'w').write('x')", collects=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, timeout=60)
    if mounted.returncode != 0:
        missing("tmpfs", f"only root may mount one here: {mounted.stderr.strip()}")
    try:
        bench.start()
        bench.run()
        bench.until_ended()
        bench.release()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True, timeout=60)
    assert bench.server.artifact("small") == b"x"
    (unsaved,) = bench.server.of(Unsaved)
    assert unsaved.files[0].path == "big"
    assert "no space left for 3000000 bytes" in unsaved.files[0].reason


def test_holes_of_a_sparse_file_take_no_space_where_it_is_staged(tmp_path: Path) -> None:
    file, staging = tmp_path / "sparse", tmp_path / "staging"
    staging.mkdir()
    with file.open("wb") as sparse:
        sparse.truncate(64 << 20)
        sparse.seek(32 << 20)
        sparse.write(b"middle")
    version = version_of(file)
    assert version is not None
    offer = ArtifactFile(
        node=0,
        path="sparse",
        size=version.size,
        sha256=digest_as_scanned(tmp_path, "sparse", version),
        modified_us=0,
    )
    with opened(tmp_path, "sparse", version) as content:
        stage(content, offer, staging)
    staged = staging / offer.sha256
    assert file_digest(staged) == offer.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert staged.stat().st_blocks * 512 < 4 << 20
