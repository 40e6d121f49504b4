"""Orders to the hosts that we start Ray on: the program inside/host.py, brought and run by ssh."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import cast

from opengrid.core.errors import GridError, InvalidValue, Unusable
from opengrid.engines.ray.inside import host as program
from opengrid.engines.ray.jobs_api import JobsApi
from opengrid.engines.ray.ssh import Ssh, parse_host

#: The Ray that is installed where there is none: what our tests run with.
TESTED_RAY = "2.60.0"

#: pip may bring gigabytes; all else takes seconds.
_PREPARE_S, _ORDER_S = 3600.0, 300.0

_NO_PYTHON = 78

#: Runs the first Python that is new enough with the program that comes in by stdin. Without `'` and `\\`, and in one
#: line: whatever shell people have on a host reads it.
_FIND = (
    'for p in "$@"; do if "$p" -c "import sys; sys.exit(sys.version_info < (3, 10))" < /dev/null > /dev/null 2>&1; '
    'then exec "$p" -c "import sys; exec(sys.stdin.read())"; fi; done; '
    'for p in "$@"; do "$p" -V < /dev/null 2>&1 | grep -i "^python [0-9]"; done; '
    f"exit {_NO_PYTHON}"
)


def check_python(python: str) -> str:
    """Return the path of an interpreter on a host; InvalidValue when it is none."""
    if not python.startswith(("/", "~/")) or not python.isprintable():
        raise InvalidValue(f"{python!r} must be an absolute path, or begin with ~/", field="python")
    return python


class Hosts:
    """Carries out orders on hosts. For several threads at once."""

    def __init__(self, ssh: Ssh) -> None:
        self._ssh = ssh
        self._program = files(program.__package__ or "").joinpath("host.py").read_text()

    def order(
        self, host: str, order: Mapping[str, object], progress: Callable[[str], None] = lambda _: None
    ) -> dict[str, object]:
        """Have a host carry out an order of inside/host.py and return what came of it. Blocks.

        GridError says what is wrong there, without the host's name.
        """
        answers: list[dict[str, object]] = []
        others: list[str] = []

        def read(line: str) -> None:
            before, mark, text = line.partition(program.TOLD)  # a login shell may have begun the line
            if not mark:
                others.append(before.strip())
                return
            told = cast("dict[str, object]", json.loads(text))
            if told["kind"] == "progress":
                progress(str(told["text"]))
            else:
                answers.append(told)

        python = cast("str | None", order.get("python"))
        code, words = self._ssh.run(
            parse_host(host),
            _command(python),
            f"{self._program}\nmain({dict(order)!a})\n",
            on_line=read,
            timeout_s=_PREPARE_S if order["do"] == "prepare" else _ORDER_S,
        )
        if code == _NO_PYTHON:
            raise _no_python(python, [line for line in others if line.lower().startswith("python ")])
        if not answers:
            raise GridError(f"the program there ended with code {code}: {words or 'it wrote nothing'}")
        answer = answers[-1]
        if answer["kind"] == "failed":
            raise Unusable(str(answer["words"]), hint=str(answer["hint"]) or None)
        return answer


def _command(python: str | None) -> str:
    names = [python] if python else ["python3", "python", *(f"python3.{minor}" for minor in range(14, 9, -1))]
    places = [] if python else [f"{place}/bin/python" for place in program.PLACES]
    return " ".join(["exec", "sh", "-c", f"'{_FIND}'", "sh", *map(_word, [*names, *places])])


def _word(path: str) -> str:
    """Return a path as a word of the host's shell, which knows where HOME is."""
    return f'"$HOME"/{shlex.quote(path[2:])}' if path.startswith("~/") else shlex.quote(path)


def _no_python(python: str | None, found: list[str]) -> Unusable:
    only = f", only {', '.join(sorted(set(found)))}" if found else ""
    return Unusable(
        f"{python} is no Python 3.10 or newer there" if python else f"it has no Python 3.10 or newer{only}",
        hint="install one there, or name it: `--python PATH`",
    )


def living(address: str, token: str) -> set[str]:
    """Return the addresses of the nodes that a Ray's head knows to be alive."""
    api = JobsApi(address, token)
    try:
        return {node.address for node in api.nodes()}
    finally:
        api.close()
