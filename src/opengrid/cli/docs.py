"""`grid docs`: the documentation that came with this very version, by chapter."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

import click

import opengrid
from opengrid.cli.options import global_options
from opengrid.cli.output import bold, print_json, settings
from opengrid.core.errors import NotFound, Unusable

#: The pages for users, in the order in which one reads them.
_PAGES = ("guide", "engines", "rank-environment", "architecture")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chapter:
    """One part of a page, from its heading to the next."""

    page: str
    title: str
    text: str


@click.command()
@click.argument("chapter", nargs=-1, metavar="[CHAPTER]")
@global_options
def docs(chapter: tuple[str, ...]) -> None:
    """Show the documentation: its chapters, one of them, or a page (guide, engines …).

    It is the one of the version that is installed, and needs no network.
    """
    folder = _folder()
    chapters = [found for page in _PAGES for found in _chapters(page, (folder / f"{page}.md").read_text())]
    if not chapter:
        _list(chapters, folder)
        return
    wanted = " ".join(chapter).lower()
    page = [found for found in chapters if found.page == wanted]
    chosen = page or [_find(chapters, wanted)]
    text = "\n".join(found.text for found in chosen)
    if settings().is_json:
        print_json({"chapter": chosen[0].title, "page": chosen[0].page, "text": text})
    else:
        click.echo_via_pager(text) if page else click.echo(text)


def _list(chapters: list[_Chapter], folder: Path) -> None:
    if settings().is_json:
        print_json({"folder": str(folder), "chapters": [{"page": c.page, "chapter": c.title} for c in chapters]})
        return
    page = ""
    for found in chapters:
        if found.page != page:
            page = found.page
            click.echo(bold(page))
        click.echo(f"  {found.title}")
    click.echo(f"\n`grid docs CHAPTER` shows one of them; the files are in {folder}")


def _find(chapters: list[_Chapter], wanted: str) -> _Chapter:
    for page in _PAGES:  # what is written for users comes before how it is built
        titles = {found.title.lower(): found for found in chapters if found.page == page}
        title = wanted if wanted in titles else next((title for title in titles if wanted in title), None)
        if title is not None:
            return titles[title]
    near = difflib.get_close_matches(wanted, [found.title.lower() for found in chapters], n=1)
    hint = f"did you mean `grid docs {near[0]}`?" if near else "`grid docs` lists them"
    raise NotFound(f"there is no chapter {wanted!r}", hint=hint, field="chapter")


def _chapters(page: str, text: str) -> list[_Chapter]:
    parts = re.split(r"^#{1,2} (?=\S)", _without_code_headings(text), flags=re.MULTILINE)[1:]
    return [
        _Chapter(page=page, title=part.partition("\n")[0].strip(), text=f"# {part.rstrip()}\n".replace("\0", "#"))
        for part in parts
        if part.partition("\n")[2].strip()
    ]


def _without_code_headings(text: str) -> str:
    """Return a text in which a `#` inside code blocks is no heading: it becomes NUL."""
    return re.sub(r"^```.*?^```", lambda block: block[0].replace("#", "\0"), text, flags=re.MULTILINE | re.DOTALL)


def _folder() -> Path:
    """Return where the pages lie: inside the installed package, or in the clone that it runs from."""
    package = Path(opengrid.__file__).parent
    for folder in (package / "_docs", package.parents[1] / "docs"):
        if (folder / f"{_PAGES[0]}.md").is_file():
            return folder
    raise Unusable(f"the documentation is not installed in {package}", hint="install opengrid anew")
