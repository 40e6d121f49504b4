"""What all suites share."""

import os
import shutil
import signal
import tempfile
from typing import Any

import pytest

from tests.support.leaks import descriptors, left_behind
from tests.support.missing import missing  # noqa: F401
from tests.support.ray_cluster import ray  # noqa: F401 - here, so that all suites share one cluster
from tests.support.s3 import bucket, endpoint, s3  # noqa: F401 - and one S3 endpoint

# A shell that runs the tests in the background ignores SIGINT for them, and so for the programs whose Ctrl-C is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)


#: Names the folder of the program that all tests' templates run, so that several workers share them.
CACHE = "OPENGRID_TEST_CACHE"


def pytest_configure(config: pytest.Config) -> None:
    """Make the session's cache; what was forked from it ends when it is gone."""
    config.stash[_OPEN], config.stash[_LEFT] = descriptors(), []
    if CACHE not in os.environ:
        os.environ[CACHE] = folder = tempfile.mkdtemp(prefix="og-cache-")
        config.add_cleanup(lambda: (os.environ.pop(CACHE, None), shutil.rmtree(folder, ignore_errors=True)))


#: What was open before the first test, and what is left after the last one.
_OPEN, _LEFT = pytest.StashKey[dict[int, str]](), pytest.StashKey[list[str]]()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session that leaves something behind. What it starts has the cache's name or its tests' folder on it."""
    config = session.config
    if not hasattr(config, "workerinput"):
        folder = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        config.stash[_LEFT] = left_behind([os.environ[CACHE], str(folder)], config.stash[_OPEN])
        if config.stash[_LEFT] and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what is left."""
    for line in config.stash[_LEFT]:
        terminalreporter.line(f"LEFT BEHIND {line}", red=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that workers end together; within a file nothing moves."""
    items.sort(key=lambda item: _RANKS.get(_group(item.nodeid), 2 + ("/unit/" in item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Have one worker run what shares something costly: a file's tests, all on Ray, all of the browser's …"""
    from xdist.scheduler import LoadScopeScheduling  # only where tests are shared out

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return Scheduling(config, log)


def _group(nodeid: str) -> str:
    file = nodeid.partition("::")[0]
    return next((group for start, group in _SHARING.items() if file.startswith(start)), file)


#: Where tests of several files share one Ray, browser or PostgreSQL.
_SHARING = {
    "tests/contract/engines/": "ray",
    "tests/e2e/test_ray.py": "ray",
    "tests/ui/": "browser",
    "tests/contract/store/": "postgresql",
}

_RANKS = {"ray": 0, "browser": 1}
