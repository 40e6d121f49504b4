"""Every command in the documents exists, with the options that it is shown with; `make` has the targets named there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from opengrid.cli.main import grid

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "examples/README.md", ROOT / "benchmarks/README.md"]
)


def _code(page: Path) -> Iterator[str]:
    """Yield the lines of a page's blocks of code, and what stands in the text as code."""
    in_block = False
    for line in page.read_text().splitlines():
        if line.lstrip().startswith("```"):
            in_block = not in_block
        elif in_block:
            yield line.strip()
        else:
            yield from re.findall(r"`([^`]+)`", line)


def _parse(words: list[str], known: list[str]) -> None:
    """Read a command line as far as it is ours; UsageError for what there is not."""
    command: click.Command = grid
    context = click.Context(grid, info_name="grid", **grid.context_settings)
    while isinstance(command, click.Group):
        _, words, _ = command.make_parser(context).parse_args(words)
        if not words or not re.fullmatch(r"[a-z-]+", words[0]):
            return
        known.append(words[0])
        found = command.get_command(context, words[0])
        if found is None:
            raise click.UsageError(f"no command {' '.join(known)}")
        command, words = found, words[1:]
        context = click.Context(command, info_name=known[-1], parent=context, **command.context_settings)
    command.make_parser(context).parse_args(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_a_document_exist_with_their_options(page: Path) -> None:
    wrong: list[str] = []
    for code in _code(page):
        if not code.startswith("grid "):
            continue
        try:
            command = re.split(r"\s{3,}", code)[0]  # what follows explains it
            _parse(shlex.split(command, comments=True)[1:], [])
        except click.BadOptionUsage:  # named without its value
            continue
        except click.UsageError as error:
            wrong.append(f"{code}: {error.format_message()}")
        except ValueError:  # a quote that the text goes on after
            continue
    assert wrong == []


def test_documents_name_the_targets_of_make_that_there_are() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {match[1] for page in PAGES for code in _code(page) for match in re.finditer(r"^make ([a-z][a-z-]*)", code)}
    assert {"run", "test", "check"} <= named <= targets
