"""`grid sync-env`: the packages of the active environment into the requirements file."""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import click

from opengrid.cli.completing import files
from opengrid.cli.options import global_options
from opengrid.cli.output import note, plural, print_json, settings
from opengrid.client.program import find_python
from opengrid.core.errors import Unusable, UserError
from opengrid.planning.packages import Package, requirements

_TIMEOUT_S = 120

#: Runs in the environment's own interpreter.
_ASK = """
import importlib.metadata, json
found = {}
for one in importlib.metadata.distributions():
    name = one.metadata["Name"]
    if not name or name.lower() in found:
        continue  # of two, the first is the one that is imported
    origin = json.loads(one.read_text("direct_url.json") or "{}")
    vcs = origin.get("vcs_info", {})
    found[name.lower()] = {"name": name, "version": one.version, "url": origin.get("url"),
                           "commit": vcs.get("commit_id"), "vcs": vcs.get("vcs")}
print(json.dumps(list(found.values())))
"""


@click.command("sync-env")
@click.option("--python", help="Interpreter [default: the active environment's].")
@click.option(
    "--file", "path", default="requirements.txt", show_default=True, shell_complete=files, help="Where to write."
)
@click.option("--yes", is_flag=True, help="Replace the file without asking.")
@click.option("--dry_run", is_flag=True, help="Print the lines; write nothing.")
@global_options
def sync_env(*, python: str | None, path: str, yes: bool, dry_run: bool) -> int:
    """Write the packages of the active environment to the requirements file.

    Runs elsewhere then find the same packages. What is installed from a folder of this computer stands there as a
    comment.
    """
    interpreter = find_python(python, os.environ, Path.cwd())
    lines = requirements(_packages(interpreter))
    text, file = "".join(f"{line}\n" for line in lines), Path(path)
    if dry_run and not settings().is_json:
        click.echo(text, nl=False)
        return 0
    before = _read(file)
    if before != text and not dry_run:
        if before is not None and not yes and not _agrees(path, before, text):
            click.echo("nothing was written", err=True)
            return 1
        _write(file, text)
    local = [line for line in lines if line.startswith("#")]
    if settings().is_json:
        print_json(
            {"file": path, "python": interpreter, "lines": list(lines), "written": before != text and not dry_run}
        )
        return 0
    same = "says that already" if before == text else "written"
    click.echo(f"{path}: {plural(len(lines) - len(local), 'package')} of {interpreter}, {same}")
    for line in local:
        note(line.removeprefix("# "))
    return 0


def _packages(python: str) -> list[Package]:
    try:
        done = subprocess.run(
            [python, "-I", "-c", _ASK], stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=True
        )
        return [Package(**said) for said in json.loads(done.stdout)]
    except (OSError, ValueError, TypeError, subprocess.SubprocessError) as error:
        reason = _reason(error)
        raise Unusable(f"{python} cannot tell its packages: {reason}", hint="name another one with --python") from error


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = cast("bytes", error.stderr).decode(errors="replace").strip().splitlines()
        return said[-1] if said else f"it ended with {error.returncode}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"it took over {_TIMEOUT_S} s"
    return "what it says are none" if isinstance(error, (ValueError, TypeError)) else str(error)


def _agrees(path: str, before: str, text: str) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise UserError(f"{path} is there and says otherwise", hint="--yes replaces it, --dry_run shows the lines")
    changes = difflib.unified_diff(before.splitlines(), text.splitlines(), "now", "then", n=0, lineterm="")
    click.echo("\n".join(changes), err=True)
    return click.confirm(f"Replace {path}?", err=True)


def _read(file: Path) -> str | None:
    try:
        return file.read_text(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unusable(f"cannot read {file}: {error.strerror}", hint="--file names another") from error


def _write(file: Path, text: str) -> None:
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        partial.write_text(text)
        os.replace(partial, file)
    except OSError as error:
        raise Unusable(f"cannot write {file}: {error.strerror}", hint="--file names another") from error
