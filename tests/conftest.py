"""What all suites share."""

import os
import shutil
import signal
import tempfile

import pytest

from tests.support.missing import missing  # noqa: F401
from tests.support.ray_cluster import ray  # noqa: F401 - here, so that all suites share one cluster
from tests.support.s3 import bucket, endpoint, s3  # noqa: F401 - and one S3 endpoint

# A shell that runs the tests in the background ignores SIGINT for them, and so for the programs whose Ctrl-C is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)


#: Names the folder of the program that all tests' templates run, so that several workers share them.
CACHE = "OPENGRID_TEST_CACHE"


def pytest_configure(config: pytest.Config) -> None:
    """Make the session's cache; what was forked from it ends when it is gone."""
    if CACHE not in os.environ:
        os.environ[CACHE] = folder = tempfile.mkdtemp(prefix="og-cache-")
        config.add_cleanup(lambda: (os.environ.pop(CACHE, None), shutil.rmtree(folder, ignore_errors=True)))


@pytest.hookimpl(tryfirst=True)  # before the workers' own, which reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have one worker run what shares something costly, and begin with what takes longest."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=_rank)  # stable: within a file nothing moves


def _group(item: pytest.Item) -> str:
    folder = item.nodeid.split("/")[1]
    if "ray" in getattr(item, "fixturenames", ()):
        return "ray"
    if folder == "ui" or item.nodeid.startswith("tests/contract/store"):
        return folder  # one browser, one PostgreSQL
    return item.nodeid.partition("::")[0]


def _rank(item: pytest.Item) -> int:
    groups = ("ray", "ui")
    return groups.index(_group(item)) if _group(item) in groups else 2 + ("/unit/" in item.nodeid)
