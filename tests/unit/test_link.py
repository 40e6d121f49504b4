"""What people copy from git hosts means the same repository, branch and file there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opengrid.core.errors import GridError, InvalidValue, NotFound
from opengrid.planning.link import Link, divide, is_link, parse_link, web_page

HUB, LAB, BUCKET = "https://github.com/org/repo", "https://gitlab.com/group/sub/repo", "https://bitbucket.org/org/repo"
BERG, OWN, SSH = "https://codeberg.org/org/repo", "https://git.example.org:8443/org/repo", "git@github.com:org/repo.git"
SHA = "0123456789abcdef0123456789abcdef01234567"
REFS = ("main", "feature/x", "feature", "v1.0", "fix/a/b")


@pytest.mark.parametrize(
    ("text", "url", "ref", "path", "is_file"),
    [
        (f"{HUB}/blob/main/train.py", HUB, "main", "train.py", True),
        (f"{HUB}/blob/feature/x/dir/train.py#L10-L20", HUB, "feature/x", "dir/train.py", True),
        (f"{HUB}/blob/feature/train.py?plain=1", HUB, "feature", "train.py", True),
        (f"{HUB}/blob/fix/a/b/train.py", HUB, "fix/a/b", "train.py", True),
        (f"{HUB}/blob/refs/heads/main/train.py", HUB, "main", "train.py", True),
        (f"{HUB}/blob/{SHA}/a%20b/train.py", HUB, SHA, "a b/train.py", True),
        (f"{HUB}/raw/v1.0/train.py", HUB, "v1.0", "train.py", True),
        ("https://raw.githubusercontent.com/org/repo/main/a/train.py", HUB, "main", "a/train.py", True),
        ("https://raw.githubusercontent.com/org/repo/refs/heads/main/train.py", HUB, "main", "train.py", True),
        (f"{HUB}/tree/feature/x", HUB, "feature/x", "", False),
        (f"{HUB}/tree/main/src", HUB, "main", "src", False),
        (f"{HUB}/commit/{SHA}", HUB, SHA, "", False),
        (HUB, HUB, None, "", False),
        (f"{HUB}/", HUB, None, "", False),
        (f"{HUB}.git", f"{HUB}.git", None, "", False),
        (f"{HUB}?tab=readme-ov-file#readme", HUB, None, "", False),
        (f"{HUB}.git#v1.0", f"{HUB}.git", "v1.0", "", False),
        (f"{HUB}#feature/x:dir/train.py", HUB, "feature/x", "dir/train.py", True),
        (f"{LAB}/-/blob/main/train.py", LAB, "main", "train.py", True),
        (f"{LAB}/-/tree/feature/x/src?ref_type=heads", LAB, "feature/x", "src", False),
        (f"{LAB}/-/commit/{SHA}", LAB, SHA, "", False),
        (LAB, LAB, None, "", False),
        (f"{BUCKET}/src/main/train.py", BUCKET, "main", "train.py", True),
        (f"{BUCKET}/src/{SHA}/train.py?at=feature%2Fx#lines-3:5", BUCKET, SHA, "train.py", True),
        (f"{BERG}/src/branch/feature/x/train.py", BERG, "feature/x", "train.py", True),
        (f"{BERG}/src/commit/{SHA}/a/train.py", BERG, SHA, "a/train.py", True),
        (f"{OWN}/blob/main/train.py", OWN, "main", "train.py", True),
        (SSH, SSH, None, "", False),
        (f"{SSH}#feature/x:train.py", SSH, "feature/x", "train.py", True),
        ("ssh://git@host:2222/org/repo.git", "ssh://git@host:2222/org/repo.git", None, "", False),
        ("ssh://git@host/org/repo#v1.0", "ssh://git@host/org/repo", "v1.0", "", False),
        ("https://someone@github.com/org/repo", HUB, None, "", False),
    ],
)  # fmt: skip
def test_a_link_names_repository_branch_and_file(
    text: str, url: str, ref: str | None, path: str, *, is_file: bool
) -> None:
    link = divide(parse_link(text), REFS)

    assert is_link(text)
    assert (link.url, link.ref, link.path, link.is_file) == (url, ref, path, is_file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://github.com/org", "github.com/OWNER/NAME"),
        ("https://github.com/org/repo/issues/3", "github.com/OWNER/NAME"),
        ("https://github.com", "names no repository"),
        (f"{HUB}/blob", "no file, folder, branch or commit"),
        (f"{LAB}/-/pipelines", "no file, folder, branch or commit"),
        ("http://github.com/org/repo", "http:// is not fetched from"),
        ("ext::sh -c true://x", "a space"),
        ("ext://sh/x", "ext:// is not fetched from"),
        ("https://me:hunter2@github.com/org/repo", "holds a password"),
        ("ssh://-oProxyCommand=true/x", "no name of a host"),
        ("git@-oProxyCommand:x", "no name of a host"),
        (f"{HUB}#-upload-pack:x", "no branch, tag or commit"),
        (f"{HUB}#main:../../etc/passwd", "leaves the repository"),
        (f"{HUB}/blob/main/train.py#v1:other.py", "names a branch twice"),
        ("https://host:99999999/org/repo", "cannot be used"),
    ],
)
def test_a_link_that_cannot_be_used_says_why(text: str, said: str) -> None:
    with pytest.raises(InvalidValue) as error:
        parse_link(text)

    assert said in error.value.message
    assert error.value.field == "link"
    assert "hunter2" not in f"{error.value.message}{error.value.hint}"


def test_a_branch_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(NotFound) as error:
        divide(parse_link(f"{HUB}/blob/feature-x/train.py"), REFS)

    assert "feature/x" in str(error.value.hint)


def test_a_path_that_leaves_the_repository_is_refused_after_dividing_too() -> None:
    with pytest.raises(InvalidValue, match="leaves the repository"):
        divide(parse_link(f"{HUB}/blob/main/../../x.py"), REFS)


@pytest.mark.parametrize("word", ["train.py", "./a/b.sh", "python", "pkg.mod", "C:\\x", "a@b", "--lr", "grid:x:1"])
def test_words_that_are_no_links_are_not_taken_for_one(word: str) -> None:
    assert not is_link(word)


@pytest.mark.parametrize(
    ("text", "link"),
    [
        (HUB, Link(url=HUB)),
        (f"{HUB}#feature/x", Link(url=HUB, ref="feature/x")),
        (f"{HUB}#feature/x:dir/train.py", Link(url=HUB, ref="feature/x", path="dir/train.py", is_file=True)),
        (f"{HUB}#:train.py", Link(url=HUB, path="train.py", is_file=True)),
        (f"{SSH}#{SHA}:a/b.py", Link(url=SSH, ref=SHA, path="a/b.py", is_file=True)),
    ],
)
def test_a_link_may_be_written_in_parts(text: str, link: Link) -> None:
    assert parse_link(text) == link


@given(st.text(max_size=60), st.sampled_from(["https://github.com/", "https://h.org/a/b/-/", "ssh://git@h/", "git@h:"]))
def test_any_text_is_a_link_or_a_foreseen_error(tail: str, start: str) -> None:
    try:
        link = divide(parse_link(start + tail), REFS)
    except GridError:
        return
    assert not link.url.startswith("-")
    assert ".." not in link.path.split("/")


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://github.com/org/repo", "https://github.com/org/repo/blob/c0ffee/a%20b/t.py"),
        ("git@github.com:org/repo.git", "https://github.com/org/repo/blob/c0ffee/a%20b/t.py"),
        ("https://gitlab.com/g/s/repo", "https://gitlab.com/g/s/repo/-/blob/c0ffee/a%20b/t.py"),
        ("ssh://git@bitbucket.org:7999/org/repo", "https://bitbucket.org/org/repo/src/c0ffee/a%20b/t.py"),
        ("https://gitea.example:8443/o/r", "https://gitea.example:8443/o/r/src/commit/c0ffee/a%20b/t.py"),
        ("https://git.example.com/o/r", None),
        ("file:///srv/github.git", None),
    ],
)
def test_the_page_of_a_file_is_that_of_its_git_host(url: str, page: str | None) -> None:
    assert web_page(url, "c0ffee", "a b/t.py") == page
