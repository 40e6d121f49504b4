"""`python -m benchmarks [PART ...]`: all parts, or some of them: `_PARTS`, and those that bring their own server."""

from __future__ import annotations

import compileall
import subprocess
import sys
from pathlib import Path

import opengrid
from benchmarks.collecting import artifacts
from benchmarks.commands import commands, logs, steady
from benchmarks.environments import environments
from benchmarks.launch import launch, memory
from benchmarks.recovery import recovery
from benchmarks.sides import Bench
from benchmarks.sweeps import sweeps

_PARTS = {
    "memory": memory,
    "launch": launch,
    "recovery": recovery,
    "steady": steady,
    "commands": commands,
    "logs": logs,
    "artifacts": artifacts,
    "sweeps": sweeps,
    "environments": environments,
}

#: Parts that bring a server of their own.
_PROGRAMS = {
    "agents": "benchmarks.fake_agents",
    "viewers": "benchmarks.viewers",
    "metrics": "benchmarks.metrics",
    "page": "benchmarks.page",
    "datastores": "benchmarks.datastores",
    "objects": "benchmarks.objects",
    "ray": "benchmarks.ray",
}


def main() -> int:
    """Run the parts that were named, each with a server of its own."""
    known = (*_PARTS, *_PROGRAMS)
    named = sys.argv[1:] or known
    unknown = [name for name in named if name not in known]
    if unknown:
        print(f"no such part: {unknown[0]}; one of {', '.join(known)}", file=sys.stderr)
        return 2
    # As installed programs have it: a checkout that writes none would be compiled at each start.
    compileall.compile_dir(str(Path(opengrid.__file__).parent), quiet=2)
    for name in named:
        print(f"\n## {name}\n", flush=True)
        if name in _PROGRAMS:
            subprocess.run([sys.executable, "-m", _PROGRAMS[name]], check=True)
            continue
        bench = Bench()
        try:
            _PARTS[name](bench)
        finally:
            bench.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
