"""Windows and searches over HTTP."""

from __future__ import annotations

from pathlib import Path

from tests.support.records import make_attempt, make_machines
from tests.support.server import serving

from opengrid.services.log_files import LogFiles
from opengrid.store.database import Database


def test_a_page_opens_a_log_at_its_end_goes_up_searches_and_follows(tmp_path: Path) -> None:
    with serving(tmp_path) as (caller, _):
        caller.run("calm-fox", processes_per_node=2)
        log = "experiments/calm-fox-exp0"
        empty = caller("GET", f"{log}/log-window").document
        assert (empty["lines"], empty["attempt"], empty["at_end"], empty["final"]) == ([], None, True, False)
        database = Database.open(f"sqlite:///{tmp_path / 'grid.db'}")
        with database.transaction() as tx:
            attempt = make_attempt(tx.runs.experiment("calm-fox-exp0"))
            tx.attempts.create(attempt, make_machines(attempt, 1))
        database.close()
        files = LogFiles(tmp_path / "logs")
        for rank in (0, 1):
            text = b"".join(b"rank %d line %d\n" % (rank, i) for i in range(50))
            files.append(attempt.id, 1, rank, "stdout", offset=0, data=text, index=f"0:{rank + 1}000000000")
        seen = caller("GET", f"{log}/log-window", at="end", before=3).document
        assert [line["text"] for line in seen["lines"]] == [f"rank 1 line {i}" for i in (47, 48, 49)]
        assert (seen["attempt"], seen["attempts"], seen["end_fraction"]) == (1, [1], 1.0)
        up = caller("GET", f"{log}/log-window", at=seen["before"], before=48).document
        assert [line["rank"] for line in up["lines"]] == [0] + [1] * 47
        found = caller("GET", f"{log}/log-search", q="RANK 1 LINE 7").document
        assert (found["line"]["text"], found["line"]["rank"]) == ("rank 1 line 7", 1)
        by_regex = caller("GET", f"{log}/log-search", q=r"line 1\d$", regex=True, at=found["cursor"])
        assert by_regex.document["line"]["text"] == "rank 1 line 10"
        assert caller("GET", f"{log}/log-search", q="RANK", case=True).document["line"] is None
        assert "missing )" in caller("GET", f"{log}/log-search", q="(", regex=True).error
        around = caller("GET", f"{log}/log-window", at=found["cursor"], before=1, after=1).document
        assert [line["text"] for line in around["lines"]] == ["rank 1 line 6", "rank 1 line 7"]
        assert caller("GET", f"{log}/log-search", errors=True).document == {
            "cursor": None,
            "line": None,
            "next": None,
            "searched": seen["size"],
        }
        files.append(
            attempt.id, 1, 0, "stdout", offset=len(text), data=b"KeyError: 'x'\n", index=f"{len(text)}:3000000000"
        )
        news = caller("GET", f"{log}/log-window", at=seen["after"], after=9).document
        assert [line["text"] for line in news["lines"]] == ["KeyError: 'x'"]
        assert caller("GET", f"{log}/log-search", errors=True).document["line"]["text"] == "KeyError: 'x'"
        streams = caller("GET", f"{log}/log-streams").document
        assert [(row["rank"], row["stream"]) for row in streams["streams"]] == [(0, "stdout"), (1, "stdout")]
        assert caller("GET", f"{log}/log-window", at="nowhere").status == 422
        assert caller("GET", f"{log}/log-search").status == 422
