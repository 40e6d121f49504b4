"""`grid artifacts`: the files that experiments have made."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opengrid.cli.completing import names_of
from opengrid.cli.options import connected, global_options
from opengrid.cli.output import (
    Column,
    ProgressLine,
    local_time,
    note,
    plural,
    print_json,
    print_table,
    settings,
    tell,
)
from opengrid.cli.progress import progress_text
from opengrid.client.api import Api
from opengrid.client.download import NoPlace, fetch, is_there, place_of
from opengrid.core.errors import InvalidValue, NotFound, Unusable
from opengrid.core.names import printable, split_experiment_name
from opengrid.core.placing import place_files
from opengrid.core.sizes import size_text

if TYPE_CHECKING:
    from opengrid.client.documents import ArtifactRow

#: A file that changes while it is downloaded is looked up again so often.
_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One artifact of those that were asked for."""

    experiment: str
    folder: str  #: of the experiment, below the download folder
    path: str  #: below that
    row: ArtifactRow


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="RUN_OR_EXPERIMENT...", shell_complete=names_of)
@click.option(
    "--download_dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("grid_artifacts"),
    show_default=True,
    help="Where to: DIR/RUN/EXPERIMENT/… for a run, DIR/EXPERIMENT/… for an experiment.",
)
@click.option("-m", "--match_regex", help="Only files in whose path this is found.")
@click.option("--list", "only_list", is_flag=True, help="Download nothing, show what there is.")
@click.option("--bucket_path", is_flag=True, help="Download nothing, show where the contents are stored.")
@click.option("--links", is_flag=True, help="Download nothing, make links that work for 24 hours without signing in.")
@global_options
def artifacts(
    names: tuple[str, ...],
    *,
    download_dir: Path,
    match_regex: str | None,
    only_list: bool,
    bucket_path: bool,
    links: bool,
) -> int:
    """Download the files that experiments have made.

    That is every file which was not there before the script started, as of now while it runs, and run.json, with all
    that is needed to run the experiment again. Repeating the command
    fetches only what is missing. Where several nodes have made the same path, node 0's (or the first one's) lies at
    that path, and the others' below node<i>/.
    """
    pattern = _pattern(match_regex)
    with connected() as api:
        found = _find(api, names, pattern)
        if links:
            _share(api, found, pattern)
            return 0
        if only_list or bucket_path:
            _show(found, pattern, bucket_path=bucket_path)
            return 0
        return _Download(api, download_dir, pattern).run(found)


def _pattern(text: str | None) -> re.Pattern[str]:
    try:
        return re.compile(text or "")
    except re.error as error:
        raise InvalidValue(f"{text!r} is no regular expression: {error}", field="match_regex") from None


def _find(api: Api, names: tuple[str, ...], pattern: re.Pattern[str]) -> list[_Found]:
    folders: dict[str, str] = {}
    for name in names:
        if split_experiment_name(name) is not None:
            folders.setdefault(name, name)
        else:
            for experiment in api.run(name)["experiments"]:
                folders[experiment["experiment"]] = f"{name}/{experiment['experiment']}"
    return [one for name, folder in folders.items() for one in _of_experiment(api, name, folder, pattern)]


def _of_experiment(api: Api, name: str, folder: str, pattern: re.Pattern[str]) -> list[_Found]:
    rows = api.artifacts(name)
    placed = place_files([(row["node"], row["path"]) for row in rows])
    return [
        _Found(experiment=name, folder=folder, path=path, row=row)
        for row, path in zip(rows, placed)  # noqa: B905 - of one length
        if pattern.search(row["path"])
    ]


def _show(found: list[_Found], pattern: re.Pattern[str], *, bucket_path: bool) -> None:
    if settings().is_json:
        print_json({"artifacts": [_document(one) for one in found]})
        return
    if not found:
        click.echo(_nothing(pattern))
        return
    name = Column(title="Artifact", may_wrap=True)
    if bucket_path:
        columns = [Column(title="Experiment"), name, Column(title="Stored At")]
        rows = [[one.experiment, one.path, one.row["stored_at"]] for one in found]
    else:
        columns = [
            Column(title="Experiment"),
            name,
            Column(title="Node", is_number=True),
            Column(title="Size", is_number=True),
            Column(title="Modified At"),
        ]
        rows = [
            [
                one.experiment,
                one.path,
                str(one.row["node"]),
                size_text(one.row["size"]),
                local_time(one.row["modified_at"]),
            ]
            for one in found
        ]
    print_table(columns, rows)


def _share(api: Api, found: list[_Found], pattern: re.Pattern[str]) -> None:
    shared = [(one, api.share_artifact(one.experiment, one.row)) for one in found]
    if settings().is_json:
        print_json({"artifacts": [{**_document(one), **link} for one, link in shared]})
        return
    if not shared:
        click.echo(_nothing(pattern))
        return
    for one, link in shared:  # no table, which would fold them
        click.echo(f"{one.experiment}  {printable(one.path)}\n  {link['url']}")
    until = local_time(min(link["expires_at"] for _, link in shared))
    note(f"whoever has a link can download its file, as it is now, until {until}")


def _nothing(pattern: re.Pattern[str]) -> str:
    return f"no artifact's path matches {pattern.pattern!r}" if pattern.pattern else "no artifacts"


def _document(one: _Found) -> dict[str, object]:
    return {"experiment": one.experiment, **one.row}


class _Download:
    """One command's downloads, and what to say about them."""

    def __init__(self, api: Api, directory: Path, pattern: re.Pattern[str]) -> None:
        self._api, self._directory, self._pattern = api, directory, pattern
        self._line, self._began = ProgressLine(), time.monotonic()
        self._done = self._came = self._total = 0
        self._fetched: dict[tuple[str, str], tuple[_Found, Path, bool]] = {}
        self._failures: dict[tuple[str, str], str] = {}
        self._alike: dict[str, Path] = {}  #: where contents lie

    def run(self, found: list[_Found]) -> int:
        """Bring everything; return the exit code."""
        changed = self._round(found)
        for _ in range(_ROUNDS):
            if not changed:
                break
            found = [
                again
                for name, folder in {one.experiment: one.folder for one in changed}.items()
                for again in _of_experiment(self._api, name, folder, self._pattern)
            ]
            changed = self._round(found)
        for one in changed:
            self._failures[one.folder, one.path] = f"{printable(one.path)} keeps changing; try again later"
        self._report()
        return 1 if self._failures else 0

    def _round(self, found: list[_Found]) -> list[_Found]:
        """Bring what is missing of these; return those that have changed since they were listed."""
        self._total, self._done, changed = sum(one.row["size"] for one in found), 0, list[_Found]()
        try:
            for one in found:
                try:
                    self._bring(one)
                except NotFound:
                    changed.append(one)
                except NoPlace as error:
                    self._failures[one.folder, one.path] = error.message
        except KeyboardInterrupt:
            self._line.clear()
            tell("what came so far is kept: the same command goes on from there")
            raise
        finally:
            self._line.clear()
        return changed

    def _bring(self, one: _Found) -> None:
        place = place_of(self._directory, f"{one.folder}/{one.path}")
        self._show_progress()
        fetched = not is_there(place, one.row)
        if fetched:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise Unusable(f"cannot make {self._directory}: {error.strerror}") from error
            digest = one.row["sha256"]
            partial, alike = self._directory / f".grid-partial-{digest}", self._alike.get(digest)
            fetch(self._api, one.experiment, one.row, place, partial, self._count, alike=alike)
        else:
            self._done += one.row["size"]
        self._alike[one.row["sha256"]] = place
        known = self._fetched.get((one.folder, one.path))
        self._fetched[one.folder, one.path] = (one, place, fetched or (known is not None and known[2]))

    def _count(self, size: int) -> None:
        self._done += size
        self._came += size
        self._show_progress()

    def _show_progress(self) -> None:
        if self._line.is_due:
            self._line.show(progress_text(self._done, self._total, self._came, time.monotonic() - self._began))

    def _report(self) -> None:
        for message in self._failures.values():
            tell(f"not downloaded: {message}")
        files = list(self._fetched.values())
        if settings().is_json:
            rows = [{**_document(one), "file": str(place), "fetched": fetched} for one, place, fetched in files]
            print_json({"download_dir": str(self._directory), "artifacts": rows})
            return
        if not files:
            if not self._failures:
                click.echo(_nothing(self._pattern))
            return
        size = size_text(sum(one.row["size"] for one, _, _ in files))
        there = sum(not fetched for _, _, fetched in files)
        before = f"; {there} of them {'was' if there == 1 else 'were'} there already" if there else ""
        click.echo(f"{plural(len(files), 'file')}, {size}, in {self._directory}{before}")
