"""`grid clusters check`, inside: what every node says about itself, as the last line of the job's log."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from opengrid.engines.ray.inside.gang import ask_nodes, join_cluster
from opengrid.engines.ray.inside.marks import ANSWERS

_TIMEOUT_S = 45.0


def main(arguments: Sequence[str]) -> int:
    """`DIGEST SERVER WORK_DIR PYTHON`: ask all nodes, each of which calls the server as an agent would."""
    digest, server, work_dir, python = arguments
    join_cluster()
    answers = ask_nodes(
        server,
        f"{server}/agent/v1/program/{digest}",
        digest,
        os.environ.get("OPENGRID_CERTIFICATE"),
        os.path.join(work_dir, "agents"),
        python,
        _TIMEOUT_S,
    )
    print(ANSWERS + json.dumps(answers), flush=True)
    return 0
