"""client.tree, client.bundle, client.git: what runs is the tree as it is on disk, or as it was committed."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.support.repositories import git

from opengrid.client.bundle import packed
from opengrid.client.tree import Tree, read_tree
from opengrid.core.errors import GridError, InvalidValue, Unusable


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


@pytest.fixture
def repository(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A checkout with one commit: train.py, sub/helper.py, and a .gitignore for *.log. The parameter is its format."""
    top = tmp_path / "repository"
    top.mkdir()
    git(top, "init", "-q", f"--object-format={getattr(request, 'param', 'sha1')}")
    write(top, {"train.py": "old", "sub/helper.py": "help", ".gitignore": "*.log\n"})
    git(top, "add", ".")
    git(top, "commit", "-qm", "one")
    return top


def content(tree: Tree) -> dict[str, bytes]:
    """Return what a bundle of the tree holds: files with their content, links as `-> target`, folders as b"/"."""
    with packed(tree) as bundle, tarfile.open(fileobj=bundle.file) as archive:
        found: dict[str, bytes] = {}
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            found[member.name] = file.read() if file else b"/" if member.isdir() else f"-> {member.linkname}".encode()
        return found


def test_tracked_files_come_as_they_are_on_disk_with_new_ones_and_without_ignored_and_deleted_ones(
    repository: Path,
) -> None:
    write(repository, {"train.py": "new", "fresh.py": "fresh", "noise.log": "noise"})
    (repository / "sub" / "helper.py").unlink()
    tree = read_tree(repository, repository / "train.py")
    assert content(tree) == {".gitignore": b"*.log\n", "fresh.py": b"fresh", "train.py": b"new"}
    assert (tree.kind, tree.commit, tree.modified) == ("git", git(repository, "rev-parse", "HEAD"), 3)
    assert b"-old\n" in tree.patch
    assert b"+new\n" in tree.patch


@pytest.mark.parametrize("repository", ["sha1", "sha256"], indirect=True)
def test_commit_and_difference_make_the_tree_again_new_files_included_and_the_index_stays_as_it_was(
    repository: Path, tmp_path: Path
) -> None:
    write(repository, {"train.py": "new", "sub/fresh ü.py": "fresh", "line\nbreak": "x\n", "empty": "", "run.sh": "go"})
    (repository / "run.sh").chmod(0o755)
    (repository / "weights").write_bytes(bytes(range(256)))
    (repository / "link").symlink_to("sub/helper.py")
    git(repository, "rm", "-q", "--cached", "sub/helper.py")  # still there: a new file, as git sees it
    git(repository, "mv", ".gitignore", "moved")
    before = (repository / ".git" / "index").read_bytes()
    tree = read_tree(repository, repository / "train.py")
    assert (repository / ".git" / "index").read_bytes() == before
    (tmp_path / "patch").write_bytes(tree.patch)
    again = tmp_path / "again"
    git(tmp_path, "clone", "-q", str(repository), str(again))
    git(again, "checkout", "-q", str(tree.commit))
    git(again, "apply", str(tmp_path / "patch"))
    git(again, "add", "-A", "-f")
    assert content(read_tree(again, again / "train.py")) == content(tree)
    assert os.access(again / "run.sh", os.X_OK)


def test_the_difference_names_what_it_leaves_to_the_bundle_large_files_and_variables(
    repository: Path, tmp_path: Path
) -> None:
    write(repository, {"big.bin": "x" * (600 << 10), "sub/prod.env": "TOKEN=hunter2", ".env": "A=1", "small.py": "1"})
    tree = read_tree(repository, repository / "train.py")
    head, _, diff = tree.patch.decode().partition("diff --git")
    assert sorted(head.splitlines()) == [
        'only in the bundle: ".env" (3 B)',
        'only in the bundle: "big.bin" (600.0 KiB)',
        'only in the bundle: "sub/prod.env" (13 B)',
    ]
    assert "small.py" in diff
    assert "hunter2" not in diff
    assert {"big.bin", ".env", "sub/prod.env"} <= set(content(tree))
    (tmp_path / "patch").write_bytes(tree.patch)
    git(repository, "stash", "-q", "-u")
    git(repository, "apply", str(tmp_path / "patch"))
    assert (repository / "small.py").read_text() == "1"


def test_what_looks_like_credentials_is_named_with_the_way_to_leave_it_out(repository: Path, tmp_path: Path) -> None:
    write(repository, {"sub/token": "t0ps3cret", ".env.example": "KEY="})
    (note,) = read_tree(repository, repository / "train.py").notes
    assert note.startswith("credentials, by their names, are sent with the code: sub/token; a line in .gitignore ")
    (repository / ".gitignore").write_text("token\n")
    assert read_tree(repository, repository / "train.py").notes == ()

    folder = tmp_path / "plain"
    write(folder, {"train.py": "", ".env": "A=1"})
    (note,) = read_tree(folder, folder / "train.py").notes
    assert note.endswith(".env; a line in .gridignore leaves them out")
    (folder / ".gitignore").write_text("*.pyc\n")  # which a new .gridignore would take the place of
    (note,) = read_tree(folder, folder / "train.py").notes
    assert note.endswith(".env; a line in .gitignore leaves them out")


def test_the_program_starts_where_the_command_was_typed_even_if_that_folder_is_new_and_empty(repository: Path) -> None:
    (repository / "deep" / "er").mkdir(parents=True)
    tree = read_tree(repository / "deep" / "er", repository / "train.py")
    assert (tree.root, tree.directory) == (repository, "deep/er")
    assert content(tree)["deep/er"] == b"/"


def test_committed_takes_the_commit_alone(repository: Path) -> None:
    write(repository, {"train.py": "new", "fresh.py": "fresh"})
    tree = read_tree(repository / "sub", repository / "train.py", committed=True)
    found = content(tree)
    assert (found["train.py"], found["sub/helper.py"], tree.directory) == (b"old", b"help", "sub")
    assert "fresh.py" not in found
    assert (tree.patch, tree.modified, tree.count) == (b"", 0, 3)
    with pytest.raises(InvalidValue, match=r"fresh\.py is not in the commit"):
        read_tree(repository, repository / "fresh.py", committed=True)


def test_committed_needs_a_commit(tmp_path: Path) -> None:
    write(tmp_path, {"train.py": ""})
    with pytest.raises(InvalidValue, match="no git repository"):
        read_tree(tmp_path, tmp_path / "train.py", committed=True)
    git(tmp_path, "init", "-q")
    with pytest.raises(Unusable, match="no commit yet"):
        read_tree(tmp_path, tmp_path / "train.py", committed=True)


def test_a_repository_without_commit_is_its_files(tmp_path: Path) -> None:
    write(tmp_path, {"train.py": "x", "other.py": "y"})
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "other.py")
    tree = read_tree(tmp_path, tmp_path / "train.py")
    assert set(content(tree)) == {"train.py", "other.py"}
    assert (tree.commit, tree.modified) == (None, 2)


def test_a_repository_that_git_does_not_see_is_a_folder_and_that_is_said(repository: Path) -> None:
    (repository / ".git" / "HEAD").write_text("broken")
    tree = read_tree(repository, repository / "train.py")
    assert (tree.kind, tree.commit, set(content(tree))) == (
        "folder",
        None,
        {".gitignore", "train.py", "sub", "sub/helper.py"},
    )
    assert tree.notes == (
        f"git sees no repository in {repository / '.git'}: what runs is the folder, and no commit is recorded",
    )
    assert read_tree(repository, repository / "train.py", localdir=True).notes == ()


def test_a_script_in_another_repository_brings_that_one_and_starts_at_its_root_with_a_note(
    repository: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    tree = read_tree(elsewhere, repository / "sub" / "helper.py")
    assert (tree.root, tree.directory) == (repository, ".")
    assert any("root" in note for note in tree.notes)


def test_an_ignored_script_is_refused_with_the_way_out(repository: Path) -> None:
    write(repository, {"wild.log": ""})
    with pytest.raises(InvalidValue, match=r"git ignores wild\.log") as refusal:
        read_tree(repository, repository / "wild.log")
    assert "--localdir" in str(refusal.value.hint)


def test_a_repository_inside_is_left_out_with_a_note(repository: Path) -> None:
    inner = repository / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    write(inner, {"a.py": ""})
    tree = read_tree(repository, repository / "train.py")
    assert not [name for name in content(tree) if name.startswith("inner")]
    assert any("inner" in note for note in tree.notes)


def test_names_that_break_lines_or_are_no_utf8_survive(repository: Path) -> None:
    names = ["two\nlines.py", "späce d.py", os.fsdecode(b"latin-\xe4.py")]
    write(repository, dict.fromkeys(names, "x"))
    assert set(names) <= set(content(read_tree(repository, repository / "train.py")))


def test_localdir_is_a_plain_copy_without_git_caches_and_environments(repository: Path) -> None:
    write(repository / "sub", {"noise.log": "n", "__pycache__/x.pyc": "", ".venv/pyvenv.cfg": "", ".venv/lib/a.py": ""})
    (repository / "sub" / "empty").mkdir()
    tree = read_tree(repository / "sub", repository / "sub" / "helper.py", localdir=True)
    assert content(tree) == {"empty": b"/", "helper.py": b"help", "noise.log": b"n"}
    assert (tree.kind, tree.root, tree.directory) == ("folder", repository / "sub", ".")
    assert any(".venv" in note for note in tree.notes)
    whole = read_tree(repository, repository / "train.py", localdir=True)
    assert not [name for name in content(whole) if name.startswith(".git/")]


def test_without_git_the_script_must_lie_in_the_current_folder(tmp_path: Path) -> None:
    write(tmp_path, {"a/x.py": "", "b/train.py": ""})
    with pytest.raises(InvalidValue, match="outside") as refusal:
        read_tree(tmp_path / "a", tmp_path / "b" / "train.py")
    assert f"cd {tmp_path / 'b'}" in str(refusal.value.hint)


def test_links_are_kept_only_when_they_stay_inside(tmp_path: Path) -> None:
    write(tmp_path, {"tree/data/a.txt": "a", "tree/train.py": "", "outside.txt": ""})
    tree_folder = tmp_path / "tree"
    (tree_folder / "near").symlink_to("data/a.txt")
    (tree_folder / "absolute").symlink_to(tree_folder / "data")
    (tree_folder / "away").symlink_to(tmp_path / "outside.txt")
    (tree_folder / "up").symlink_to("../outside.txt")
    tree = read_tree(tree_folder, tree_folder / "train.py")
    found = content(tree)
    assert (found["near"], found["absolute"]) == (b"-> data/a.txt", b"-> data")
    assert not {"away", "up"} & set(found)
    assert {note.split()[2] for note in tree.notes} == {"away,", "up,"}


def test_a_pipe_is_left_out_with_a_note(tmp_path: Path) -> None:
    write(tmp_path, {"train.py": ""})
    os.mkfifo(tmp_path / "pipe")
    tree = read_tree(tmp_path, tmp_path / "train.py")
    assert set(content(tree)) == {"train.py"}
    assert any("pipe" in note for note in tree.notes)


def test_grids_own_folders_are_never_part_of_it(repository: Path) -> None:
    write(repository, {"state/token": "secret"})
    for localdir in (False, True):
        tree = read_tree(repository, repository / "train.py", localdir=localdir, exclude=(repository / "state",))
        assert "state/token" not in content(tree)


def test_a_tree_that_is_too_large_names_its_three_largest_parts(tmp_path: Path) -> None:
    write(tmp_path, {"train.py": "", "small.txt": "x" * 9, "model.bin": "x" * 500, "note.txt": "x" * 50})
    write(tmp_path, {f"data/raw/images/{i}.png": "x" * 100 for i in range(10)})
    with pytest.raises(Unusable) as refusal:
        read_tree(tmp_path, tmp_path / "train.py", limit=1000)
    message = refusal.value.message
    assert message.index("data/raw/images") < message.index("model.bin") < message.index("note.txt")
    assert "small.txt" not in message


def test_equal_trees_have_equal_bundles_wherever_and_whenever_they_were_made(tmp_path: Path) -> None:
    digests: list[str] = []
    for place, time in (("one", 1), ("two", 2_000_000_000)):
        write(tmp_path / place, {"b.py": "b", "a/c.py": "c"})
        os.utime(tmp_path / place / "b.py", (time, time))
        with packed(read_tree(tmp_path / place, tmp_path / place / "b.py")) as bundle:
            digests.append(bundle.digest)
    assert digests[0] == digests[1]


def test_modes_are_kept_and_times_are_ones_that_zip_files_can_hold(tmp_path: Path) -> None:
    write(tmp_path, {"run.sh": "#!/bin/sh", "train.py": ""})
    (tmp_path / "run.sh").chmod(0o750)
    with packed(read_tree(tmp_path, tmp_path / "run.sh")) as bundle, tarfile.open(fileobj=bundle.file) as archive:
        assert archive.getmember("run.sh").mode == 0o750
        assert all(1980 < 1970 + member.mtime / 31_557_600 < 1981 for member in archive)


def test_a_large_file_comes_whole(tmp_path: Path) -> None:
    data = os.urandom((3 << 20) + 17)
    (tmp_path / "big.bin").write_bytes(data)
    write(tmp_path, {"train.py": ""})
    found = content(read_tree(tmp_path, tmp_path / "train.py"))
    assert found["big.bin"] == data


def test_a_file_that_disappears_while_packing_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "", "train.py": ""})
    tree = read_tree(tmp_path, tmp_path / "train.py")
    (tmp_path / "a.py").unlink()
    with pytest.raises(GridError, match=r"a\.py disappeared"), packed(tree):
        pass


def test_variables_of_a_git_hook_do_not_mislead(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert read_tree(repository, repository / "train.py").commit is not None


def test_reading_takes_no_lock(repository: Path) -> None:
    (repository / ".git" / "index.lock").write_text("")
    write(repository, {"train.py": "new"})
    assert read_tree(repository, repository / "train.py").modified == 1


def test_an_archive_is_readable_by_any_tar(repository: Path) -> None:
    with packed(read_tree(repository, repository / "train.py")) as bundle:
        listed = subprocess.run(
            ["tar", "-t"], input=io.BytesIO(bundle.file.read()).getvalue(), capture_output=True, check=True
        )
    assert b"sub/helper.py" in listed.stdout
