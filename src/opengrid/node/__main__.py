"""What our zipapp does: see the commands below. Each imports only what it needs."""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Run one subcommand; return its exit code."""
    command, *rest = arguments or [""]
    if command == "agent":
        from opengrid.node.start import agent_main

        return agent_main(rest)
    if command == "template":
        from opengrid.node.preload.template import template_main

        return template_main(rest)
    if command == "rank":
        from opengrid.node.rank import rank_main

        return rank_main(rest)
    if command == "probe":
        from opengrid.node.probe import probe_main

        return probe_main(rest)
    if command == "about":
        from opengrid.node.about import about_main

        return about_main(rest)
    if command == "mounts":
        from opengrid.node.mounting import mounts_main

        return mounts_main(rest)
    if command == "sweep":
        from opengrid.node.spawn import sweep_main

        return sweep_main(rest)
    print(f"no such command: {command!r}; one of agent, template, rank, probe, about, mounts, sweep", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
