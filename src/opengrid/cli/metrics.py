"""`grid metrics`: what a training has told of itself."""

from __future__ import annotations

import csv
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from opengrid.cli.completing import names_of
from opengrid.cli.options import connected, global_options
from opengrid.cli.output import Column, note, plural, print_json, print_table, settings, tell, value_text
from opengrid.client.api import Api
from opengrid.client.http import Query
from opengrid.core.errors import InvalidValue, NotFound
from opengrid.core.names import printable, split_experiment_name
from opengrid.core.sizes import size_text

if TYPE_CHECKING:
    from opengrid.client.documents import (
        FileProblem,
        ScalarValues,
        SeriesAnswer,
        SeriesDocument,
        SystemRow,
        TableDocument,
        TableRow,
    )

#: What four bytes can hold.
_LARGEST = 3.4e38

#: Rows of a run's table on a terminal; a CSV file has all.
_ROWS = 100


@click.command()
@click.argument("name", metavar="RUN_OR_EXPERIMENT", shell_complete=names_of)
@click.option("--tag", "tags", multiple=True, help="Every point of this metric; of a run, this column. Repeatable.")
@click.option("--csv", "as_csv", is_flag=True, help="As CSV: of an experiment every point, of a run every experiment.")
@click.option("--sort", help="Of a run: state, duration, param:NAME, metric:TAG, metric:TAG:last | :min | :max.")
@click.option("--desc", is_flag=True, help="The greatest first.")
@click.option("--filter", "filters", multiple=True, help="Of a run: only experiments like 'param:lr<0.1'. Repeatable.")
@click.option("--system", "is_system", is_flag=True, help="Of an experiment: how much it uses of its machines.")
@global_options
def metrics(
    name: str,
    *,
    tags: tuple[str, ...],
    as_csv: bool,
    sort: str | None,
    desc: bool,
    filters: tuple[str, ...],
    is_system: bool,
) -> None:
    """Show an experiment's metrics, or those of all experiments of a run.

    Metrics are what the script writes for TensorBoard, whatever writes it, and what Lightning's self.log() gets. Of an
    experiment: last, least and greatest value of each, or all points of those named. Of a run: its experiments with
    their hyperparameters and the last value of each metric.

    With --system: processor, memory and GPUs of each machine, rank and GPU, as last measured; with --tag, such as
    rank/0/cpu, or --csv every sample.
    """
    is_run = split_experiment_name(name) is None
    if as_csv and settings().is_json:
        raise InvalidValue("--csv and -o json exclude each other")
    if not is_run and (sort is not None or desc or filters):
        raise InvalidValue(f"{name} is an experiment: --sort, --desc and --filter are for the experiments of a run")
    if is_run and is_system:
        raise InvalidValue(f"{name} is a run: --system is for an experiment", hint=f"such as {name}-exp0")
    with connected() as api:
        if is_system:
            _show_system(api, name, tags, as_csv=as_csv)
        elif is_run:
            query = {
                "sort": sort or "index",
                "order": "desc" if desc else "asc",
                "filter": filters,
                "metric": tags or None,
            }
            _show_run(api, name, query, tags, as_csv=as_csv)
        elif tags or as_csv:
            _show_points(api, name, tags, as_csv=as_csv)
        else:
            _show_experiment(api, name)


def _show_run(api: Api, name: str, query: Query, tags: Sequence[str], *, as_csv: bool) -> None:
    if as_csv:
        with api.table_as_csv(name, query) as blocks:
            for block in blocks:
                click.echo(block, nl=False)
        return
    document = api.table(name, {**query, "limit": _ROWS})
    if settings().is_json:
        print_json(document)
        return
    _tell_unknown(name, document)
    if not document["experiments"]:
        tell(f"{name} has no such experiment")
        return
    _print_run(document, tags)
    if len(document["experiments"]) < document["total"]:
        note(f"the first {len(document['experiments'])} of {document['total']} experiments; --csv writes all")


def _tell_unknown(name: str, document: TableDocument) -> None:
    columns = document["columns"]
    known = [f"param:{param}" for param in columns["params"]] + [f"metric:{one['tag']}" for one in columns["metrics"]]
    for text in document["unknown"]:
        note(f"no experiment of {name} has {printable(text)}: {_offer(text, known)}")


def _print_run(document: TableDocument, asked: Sequence[str]) -> None:
    rows, params = document["experiments"], document["columns"]["params"]
    there = {tag for row in rows for tag in row["metrics"]}
    tags = [tag for tag in asked or (one["tag"] for one in document["columns"]["metrics"]) if tag in there]
    columns = [Column(title="Experiment"), Column(title="Status")]
    columns += [Column(title=param, may_wrap=True) for param in params]
    columns += [Column(title=tag, is_number=True, may_drop=not asked) for tag in tags]
    left_out = print_table(
        columns,
        [
            [
                row["experiment"],
                row["state"],
                *(_param(row, param) for param in params),
                *(_last(row["metrics"].get(tag)) for tag in tags),
            ]
            for row in rows
        ],
    )
    if left_out:
        note(f"{plural(left_out, 'more metric')}: --tag NAME shows one, --csv all")
    if not tags:
        tell("no metrics so far: they come from TensorBoard event files and from Lightning's self.log()")


def _show_experiment(api: Api, name: str) -> None:
    document = api.scalars(name)
    if settings().is_json:
        print_json(document)
        return
    _tell_problems(document["problems"])
    if not document["tags"]:
        tell(f"{name} has no metrics so far: they come from TensorBoard event files and from Lightning's self.log()")
        return
    titles = ("Last", "Step", "Min", "At", "Max", "At", "Points")
    columns = [Column(title="Metric"), *(Column(title=title, is_number=True) for title in titles)]
    print_table(
        columns,
        [
            [
                *(row["tag"], _last(row), str(row["last_step"])),
                *(_number(row["min"]), _step(row["min_step"]), _number(row["max"]), _step(row["max_step"])),
                str(row["points"]),
            ]
            for row in document["tags"]
        ],
    )


def _show_system(api: Api, name: str, tags: Sequence[str], *, as_csv: bool) -> None:
    document = api.system(name)
    known = [row["name"] for row in document["series"]]
    if tags or (as_csv and known):
        _check_known(name, "series", tags, known)
        _print_points(api.system_series(name, tags or known), as_csv=as_csv)
    elif settings().is_json:
        print_json(document)
    elif not known:
        tell(f"nothing was measured of {name} so far: that begins with its ranks")
    else:
        _print_system(document["series"])


def _print_system(series: Sequence[SystemRow]) -> None:
    of: dict[str, dict[str, str]] = {}
    for row in series:
        values = of.setdefault(f"{row['subject']} {row['number']}", {})
        values["use" if row["quantity"] == "cpu" else row["quantity"]] = _measured(row)
    titles = {name: name.capitalize() for name in ("use", "memory", "received", "sent", "read", "written")}
    columns = [Column(title="Of"), *(Column(title=title, is_number=True) for title in titles.values())]
    print_table(columns, [[subject, *(values.get(name, "-") for name in titles)] for subject, values in of.items()])


def _measured(row: SystemRow) -> str:
    if row["unit"] == "%":
        return f"{row['value']:.0f} %"
    return size_text(row["value"]) + row["unit"].removeprefix("B")


def _show_points(api: Api, name: str, tags: Sequence[str], *, as_csv: bool) -> None:
    there = api.scalars(name)
    known = [row["tag"] for row in there["tags"]]
    _check_known(name, "metric", tags, known)
    _tell_problems(there["problems"])
    _print_points(api.series(name, tags or known), as_csv=as_csv)


def _check_known(name: str, kind: str, tags: Sequence[str], known: Sequence[str]) -> None:
    for tag in tags:
        if tag not in known:
            raise NotFound(f"{name} has no {kind} {tag!r}", hint=_offer(tag, known))


def _print_points(document: SeriesAnswer, *, as_csv: bool) -> None:
    if settings().is_json:
        print_json(document)
    elif as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows(_points(document["series"], with_title=True))
    else:
        columns = [Column(title="Metric"), *(Column(title=t, is_number=True) for t in ("Step", "Time", "Value"))]
        print_table(columns, [[str(cell) for cell in row] for row in _points(document["series"], with_title=False)])


def _points(series: Iterable[SeriesDocument], *, with_title: bool) -> Iterator[tuple[object, ...]]:
    """Yield every point: metric, step, seconds since the epoch, value."""
    if with_title:
        yield "tag", "step", "time", "value"
    for one in series:
        texts = dict(one["not_finite"])
        for i, (step, time, value) in enumerate(zip(one["steps"], one["times"], one["values"], strict=True)):
            yield one["tag"], step, time, texts.get(i, _shortest(value))


def _tell_problems(problems: Iterable[FileProblem]) -> None:
    for problem in problems:
        note(f"node {problem['node']}, {printable(problem['path'])}: {problem['reason']}")


def _offer(tag: str, known: Sequence[str]) -> str:
    import difflib  # for a mistyped name only

    near = difflib.get_close_matches(tag, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there is {', '.join(map(printable, known[:10]))}" if known else "there is none so far"


def _last(row: ScalarValues | None) -> str:
    return "-" if row is None else row["text"] or _number(row["last"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _step(step: int | None) -> str:
    return "-" if step is None else str(step)


def _param(row: TableRow, name: str) -> str:
    return value_text(row["params"][name]) if name in row["params"] else "-"


def _shortest(value: float | None) -> float | None:
    """Return a number as short as the four bytes that most writers keep of it: 0.1, not 0.10000000149011612."""
    if value is None or abs(value) > _LARGEST:
        return value
    kept = struct.pack("<f", value)
    short = (float(f"{value:.{digits}g}") for digits in range(6, 10))
    return next((one for one in short if struct.pack("<f", one) == kept), value) if _number_of(kept) == value else value


def _number_of(kept: bytes) -> float:
    (number,) = struct.unpack("<f", kept)
    return number
