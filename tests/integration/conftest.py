"""Fixtures that live in tests/support, registered once so that a session shares one template."""

from tests.support.agents import agent_zipapp, bench  # noqa: F401
from tests.support.preloading import (  # noqa: F401
    plain_bench,
    plain_spec,
    run_directory,
    torch_bench,
    torch_spec,
    zipapp_path,
)
