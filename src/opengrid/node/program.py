"""What exactly a rank executes, and whether it can be forked from the template."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from opengrid.core.spec import Framework, Program, ProgramKind
from opengrid.node.preload import faithful

_SHELL = ("/bin/bash", "/bin/sh")


def needs_store(program: Program, framework: Framework) -> bool:
    """Return whether ranks meet in a store opened for them; other programs open their own on a free port."""
    return framework.is_torch and program.kind is not ProgramKind.EXECUTABLE


def reason_to_execute(program: Program, framework: Framework, environment: Mapping[str, str]) -> str:
    """Return why ranks will be ordinary processes instead of forks, as far as one can know before; "" when not."""
    if program.kind is ProgramKind.EXECUTABLE:
        return "not a Python program"
    if not framework.is_torch:
        return f"framework {framework.value}"
    return faithful.variable_read_too_early(environment) or ""


def as_found(program: Program, directory: Path) -> Program:
    """Return the program with an executable as a shell in `directory` would find it; others unchanged.

    A file there comes before one of the same name on PATH. A shell script without the x bit is run by its interpreter.
    """
    if program.kind is not ProgramKind.EXECUTABLE:
        return program
    target = program.target
    file = directory / target
    if "/" not in target:
        if not file.is_file():
            return program
        target = f"./{target}"
    if file.is_file() and not os.access(file, os.X_OK) and (interpreter := _interpreter(file)):
        command, *options = interpreter
        return dataclasses.replace(program, target=command, arguments=(*options, target, *program.arguments))
    return dataclasses.replace(program, target=target)


def _interpreter(file: Path) -> list[str]:
    """Return the command that runs a script: from its first line, or a shell for *.sh; nothing for other files."""
    try:
        with file.open("rb") as lines:
            first = lines.readline(256)
    except OSError:
        return []
    if first.startswith(b"#!"):
        words = os.fsdecode(first[2:]).strip().split(None, 1)  # as the kernel splits it
        if words:
            return words
    return [next((shell for shell in _SHELL if os.path.exists(shell)), "sh")] if file.name.endswith(".sh") else []
