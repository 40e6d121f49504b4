"""What a test does where this computer lacks something that it needs."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str, reason: str) -> NoReturn:
    """Skip the test for want of `what`, or fail it where OPENGRID_TEST_REQUIRE (a comma list) names `what`."""
    required = os.environ.get("OPENGRID_TEST_REQUIRE", "").split(",")
    if what in (word.strip() for word in required):
        pytest.fail(f"{what} is required here, but {reason}", pytrace=False)
    pytest.skip(f"{what}: {reason}")
