"""`python -m benchmarks [PART ...]`: all parts, or some of them: `_PARTS`, and agents."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.commands import commands, logs, steady
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
    "sweeps": sweeps,
}


def main() -> int:
    """Run the parts that were named, each with a server of its own."""
    named = sys.argv[1:] or [*_PARTS, "agents"]
    unknown = [name for name in named if name not in (*_PARTS, "agents")]
    if unknown:
        print(f"no such part: {unknown[0]}; one of {', '.join(_PARTS)}, agents", file=sys.stderr)
        return 2
    for name in named:
        print(f"\n## {name}\n", flush=True)
        if name == "agents":
            subprocess.run([sys.executable, "-m", "benchmarks.fake_agents"], check=True)
            continue
        bench = Bench()
        try:
            _PARTS[name](bench)
        finally:
            bench.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
