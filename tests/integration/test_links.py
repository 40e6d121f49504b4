"""services.links, client.remote: a link becomes a tree of the server's, fetched by git."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from tests.support.repositories import HOST, commit, git, hosted

from opengrid.blobs.folder import FolderBlobs
from opengrid.client.remote import Access
from opengrid.core.errors import GridError, InvalidValue, NotFound, Unusable
from opengrid.core.spec import Program, ProgramKind, RunSpec, Source
from opengrid.planning.pruning import Bounds
from opengrid.services.links import Links

REPO = f"{HOST}/repo"


class Site:
    """A git host with one repository, and what a server makes of links to it."""

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "host" / "repo"
        self.first = commit(self.repository, {"train.py": "print(1)", "lib/data.txt": "a\nb", "run.sh": "true"})
        git(self.repository, "checkout", "-qb", "feature/x")
        self.feature = commit(self.repository, {"sub/fit.py": "print(2)", ".gitattributes": "*.txt text eol=crlf\n"})
        git(self.repository, "checkout", "-q", "main")
        self.blobs = FolderBlobs(folder / "blobs")
        self.folder = folder / "repositories"
        self.environment = {**os.environ, **hosted(folder / "host"), "GIT_CONFIG_GLOBAL": os.devnull}

    def links(self, *, size_limit: int = 1 << 30, protocols: tuple[str, ...] = ("https", "ssh", "file")) -> Links:
        access = Access(
            protocols=protocols, environment=self.environment, as_user=True, size_limit=size_limit, timeout_s=60
        )
        return Links(
            self.blobs,
            self.folder,
            access,
            token_of=lambda _user, _host: None,
            shell={"PATH": "/bin"},
            bounds=Bounds(most_bytes=1 << 20, longest_unused_s=1000),
        )

    def completed(self, link: str, target: str = "", kind: ProgramKind = ProgramKind.SCRIPT) -> RunSpec:
        return self.links().completed(request(link, target, kind), "ada")

    def content(self, source: Source) -> dict[str, bytes]:
        assert source.bundle is not None
        with tarfile.open(self.blobs.path(source.bundle)) as archive:
            files = {member.name: archive.extractfile(member) for member in archive if member.isreg()}
            return {name: file.read() for name, file in files.items() if file is not None}


def request(link: str, target: str = "", kind: ProgramKind = ProgramKind.SCRIPT) -> RunSpec:
    return RunSpec(
        program=Program(kind=kind, target=target, arguments=("--lr", "0.1")),
        source=Source(bundle=None, root="", link=link),
    )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_link_to_a_file_brings_the_tree_of_its_branch_and_names_the_program(site: Site) -> None:
    spec = site.completed(f"{REPO}/blob/feature/x/sub/fit.py")

    assert (spec.program.kind, spec.program.target, spec.program.arguments) == (
        *(ProgramKind.SCRIPT, "sub/fit.py"),
        ("--lr", "0.1"),
    )
    assert (spec.source.commit, spec.source.directory, spec.source.kind) == (site.feature, ".", "git")
    assert spec.source.place is not None
    assert (spec.source.place.ref, spec.source.place.path) == ("feature/x", "sub/fit.py")
    assert spec.source.line.startswith(f"{REPO} at {site.feature[:10]} (feature/x) (5 files, ")
    content = site.content(spec.source)
    assert content["sub/fit.py"] == b"print(2)"
    assert content["lib/data.txt"] == b"a\nb", "contents come as they were committed"


@pytest.mark.parametrize(
    ("link", "target", "commit_of", "program"),
    [
        (REPO, "train.py", "first", "train.py"),
        (f"{REPO}/tree/feature/x/sub", "fit.py", "feature", "sub/fit.py"),
        (f"{REPO}/commit/{{first}}", "train.py", "first", "train.py"),
        (f"{REPO}/blob/{{first:.10}}/train.py", "", "first", "train.py"),
        (f"{REPO}#feature/x:sub/fit.py", "", "feature", "sub/fit.py"),
        (f"{REPO}/blob/main/run.sh", "", "first", "./run.sh"),
        ("git@git.example.com:org/repo#feature/x", "train.py", "feature", "train.py"),
    ],
)
def test_links_of_all_kinds_lead_to_a_commit_and_a_program(
    site: Site, link: str, target: str, commit_of: str, program: str
) -> None:
    spec = site.completed(link.format(first=site.first), target)

    assert (spec.source.commit, spec.program.target) == (getattr(site, commit_of), program)


def test_a_module_in_a_linked_repository_is_taken_as_it_is(site: Site) -> None:
    spec = site.completed(REPO, "sub.fit", ProgramKind.MODULE)

    assert (spec.program.kind, spec.program.target) == (ProgramKind.MODULE, "sub.fit")


def test_the_same_commit_is_stored_once_and_a_new_one_is_fetched(site: Site) -> None:
    links = site.links()
    before = links.completed(request(REPO, "train.py"), "ada").source
    again = links.completed(request(f"{REPO}/blob/main/train.py"), "ada").source
    new = commit(site.repository, {"train.py": "print(3)"})
    after = links.completed(request(REPO, "train.py"), "ada").source

    assert (before.bundle, before.commit) == (again.bundle, site.first)
    assert after.commit == new
    assert site.content(after)["train.py"] == b"print(3)"


def test_repositories_that_were_not_used_for_long_are_removed_and_fetched_again(site: Site) -> None:
    links = site.links()
    before = links.completed(request(REPO, "train.py"), "ada").source

    assert links.prune(now_s=time.time()) == []
    gone = links.prune(now_s=time.time() + 2000)

    assert len(gone) == 1
    assert list(site.folder.iterdir()) == []
    assert links.completed(request(REPO, "train.py"), "ada").source == before


def test_commits_that_were_fetched_before_do_not_make_a_repository_too_large(site: Site) -> None:
    links = site.links(size_limit=3 << 20)
    for _ in range(4):
        (site.repository / "large.bin").write_bytes(os.urandom(1 << 20))
        new = commit(site.repository, {})
        assert links.completed(request(REPO, "train.py"), "ada").source.commit == new


@pytest.mark.parametrize(
    ("link", "target", "kind", "said", "hint"),
    [
        (f"{HOST}/none", "train.py", NotFound, "cannot be read", "grid secret set git@git.example.com"),
        (f"{REPO}/blob/feature-x/train.py", "", NotFound, "no branch, tag or commit", "feature/x"),
        (f"{REPO}/blob/main/trian.py", "", NotFound, "there is no trian.py", "train.py"),
        (f"{REPO}/blob/main/fit.py", "", NotFound, "there is no fit.py", ""),
        (REPO, "", InvalidValue, "names no script", "train.py"),
        (f"{REPO}/blob/main/train.py", "run.sh", InvalidValue, "names train.py already", ""),
        (f"{REPO}/commit/{'0' * 40}", "train.py", NotFound, "no commit 0000", ""),
        ("https://127.0.0.1:1/org/repo", "train.py", Unusable, "the server does not reach 127.0.0.1", "name right?"),
    ],
)
def test_a_link_that_leads_nowhere_says_why_and_what_is_near(
    site: Site, link: str, target: str, kind: type[GridError], said: str, hint: str
) -> None:
    with pytest.raises(kind) as error:
        site.completed(link, target)

    assert said in error.value.message
    assert hint in str(error.value.hint)


def test_a_protocol_that_the_site_does_not_allow_is_refused_behind_insteadof_too(site: Site) -> None:
    with pytest.raises(InvalidValue, match="speaks https and ssh only"):
        site.links(protocols=("https", "ssh")).completed(request(REPO, "train.py"), "ada")


def test_a_repository_that_is_too_large_is_given_up_and_leaves_nothing(site: Site) -> None:
    (site.repository / "large.bin").write_bytes(os.urandom(3 << 20))
    commit(site.repository, {})

    with pytest.raises(Unusable, match="2"):
        site.links(size_limit=2 << 20).completed(request(REPO, "train.py"), "ada")

    assert not list(site.folder.glob("*"))


def test_hooks_and_filters_of_a_repository_are_not_run(site: Site, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    commit(site.repository, {".gitattributes": "*.txt filter=evil export-ignore\n", "lib/data.txt": "kept"})
    number = int(site.environment["GIT_CONFIG_COUNT"])
    site.environment |= {
        "GIT_CONFIG_COUNT": str(number + 1),
        f"GIT_CONFIG_KEY_{number}": "filter.evil.smudge",
        f"GIT_CONFIG_VALUE_{number}": f"touch {mark}; cat",
    }

    spec = site.completed(REPO, "train.py")

    assert site.content(spec.source)["lib/data.txt"] == b"kept"
    assert not mark.exists()


def test_links_of_a_repository_are_followed_inside_it_alone_and_not_in_a_circle(site: Site, tmp_path: Path) -> None:
    (tmp_path / "outside.txt").write_text("numpy")
    (site.repository / "requirements.txt").symlink_to("requirements.txt")
    (site.repository / "environment.yml").symlink_to(tmp_path / "outside.txt")
    (site.repository / "deps.txt").write_text("rich")
    (site.repository / "linked.txt").symlink_to("lib/../deps.txt")
    commit(site.repository, {})

    assert site.completed(REPO, "train.py").dependencies is None
    wanted = dataclasses.replace(request(REPO, "train.py"), dependency_file="linked.txt")
    found = site.links().completed(wanted, "ada").dependencies

    assert found is not None
    assert found.requirements == ("rich",)


def test_a_commit_of_a_few_bytes_that_has_billions_of_files_is_refused(site: Site) -> None:
    below = git(site.repository, "rev-parse", "HEAD^{tree}")
    for _ in range(8):
        entries = "".join(f"040000 tree {below}\t{number:02}\n" for number in range(40))
        below = subprocess.run(
            ["git", "mktree"], cwd=site.repository, input=entries, check=True, capture_output=True, text=True
        ).stdout.strip()
    git(site.repository, "update-ref", "refs/heads/bomb", git(site.repository, "commit-tree", "-m", "x", below))

    with pytest.raises(Unusable, match="too many files"):
        site.completed(f"{REPO}#bomb", "train.py")
    assert site.completed(REPO, "train.py").source.commit == site.first
