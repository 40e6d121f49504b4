"""Places for mounts, and arguments where there is no mount."""

from __future__ import annotations

import pytest

from opengrid.core.errors import InvalidValue
from opengrid.core.mounts import Mount, check_mount_path, rewritten, seen_elsewhere, text_of


def make_mount(path: str = "/datastores/cifar5", *, is_bound: bool = False, source: str = "/trees/cifar5/1") -> Mount:
    return Mount(name="cifar5", version=1, path=path, source=source, is_bound=is_bound)


@pytest.mark.parametrize(
    ("argument", "becomes"),
    [
        ("/datastores/cifar5", "/trees/cifar5/1"),
        ("/datastores/cifar5/train", "/trees/cifar5/1/train"),
        ("--data=/datastores/cifar5/a b", "--data=/trees/cifar5/1/a b"),
        ("-d=/datastores/cifar5", "-d=/trees/cifar5/1"),
        ("/datastores/cifar55", "/datastores/cifar55"),
        ("/datastores", "/datastores"),
        ("x/datastores/cifar5", "x/datastores/cifar5"),
        ("data=/datastores/cifar5", "data=/datastores/cifar5"),
        ("", ""),
    ],
)
def test_arguments_that_begin_with_the_mount_path_are_rewritten(argument: str, becomes: str) -> None:
    assert rewritten(["--x", argument], [make_mount()]) == ("--x", becomes)


@pytest.mark.parametrize(
    "path",
    ["", "data", "./x", "/", "//", "/a/../b", "/a//b", "/a\0b", "/usr", "/usr/x", "/proc", "/etc/", "/dev/x"],
)
def test_a_place_that_is_none_or_hides_what_programs_need_is_refused(path: str) -> None:
    with pytest.raises(InvalidValue) as error:
        check_mount_path(path)
    assert error.value.field == "datastore_mount_dir"


@pytest.mark.parametrize("path", ["/data", "/data/", "/user", "/mnt/a b", "/home/me/data"])
def test_other_places_will_do(path: str) -> None:
    assert check_mount_path(path) == path.rstrip("/")


def test_people_are_told_how_a_version_comes_to_its_place() -> None:
    assert text_of(make_mount(is_bound=True)) == "cifar5:1 at /datastores/cifar5, read-only"
    assert "arguments that begin with /datastores/cifar5 become /trees/cifar5/1" in text_of(make_mount())
    assert text_of(make_mount("/trees/cifar5/1")) == "cifar5:1 at /trees/cifar5/1, without a mount of its own"


def test_machines_elsewhere_fetch_a_version_and_what_they_can_mount_is_not_known_yet() -> None:
    for path in ("/datastores/cifar5", "/data"):
        seen = seen_elsewhere(make_mount(path), "/scratch")
        assert (seen.path, seen.source, seen.is_fetched, seen.is_bound) == (path, "/scratch/data/cifar5-1", True, True)
        assert text_of(seen) == (
            f"cifar5:1 at {path}, read-only on machines that allow mounts; "
            f"on others arguments that begin with {path} become /scratch/data/cifar5-1"
        )


def test_a_reference_in_an_argument_leads_to_where_a_version_is_fetched_elsewhere() -> None:
    seen = seen_elsewhere(make_mount("/trees/cifar5/1", is_bound=True), "/scratch")
    assert not seen.is_bound
    assert rewritten(["/trees/cifar5/1/a"], [seen]) == ("/scratch/data/cifar5-1/a",)
    assert text_of(seen) == "cifar5:1 at /scratch/data/cifar5-1, without a mount of its own"


def test_a_folder_that_all_machines_see_is_read_where_it_is() -> None:
    shared = Mount(name="cifar5", version=1, path="/nfs/c", source="/nfs/c", is_shared=True, is_bound=False)
    seen = seen_elsewhere(shared, "/scratch")
    assert (seen.source, seen.is_fetched, seen.is_bound) == ("/nfs/c", False, True)
    assert text_of(seen) == "cifar5:1 at /nfs/c, read-only on machines that allow mounts"
