"""What all suites share."""

import os
import signal
from typing import NoReturn

import pytest

# A shell that runs the tests in the background ignores SIGINT for them, and so for the programs whose Ctrl-C is tested.
signal.signal(signal.SIGINT, signal.default_int_handler)


def missing(what: str, reason: str) -> NoReturn:
    """Skip the test for want of `what`, or fail it where OPENGRID_TEST_REQUIRE (a comma list) names `what`."""
    required = os.environ.get("OPENGRID_TEST_REQUIRE", "").split(",")
    if what in (word.strip() for word in required):
        pytest.fail(f"{what} is required here, but {reason}", pytrace=False)
    pytest.skip(f"{what}: {reason}")


# At the end: it needs `missing`. Here, so that all suites share one cluster.
from tests.support.ray_cluster import ray  # noqa: E402, F401
