"""What a page can watch: a feed for each topic."""

from __future__ import annotations

from collections.abc import Callable

from opengrid.server.wakeups import Wakeups
from opengrid.services.feeds import (
    CHANGES,
    SAMPLES,
    Feed,
    HintFeed,
    LogsFeed,
    RunFeed,
    RunsFeed,
    artifacts_version,
    experiment_version,
    machines_version,
    samples_version,
    scalars_version,
)
from opengrid.services.logs import Logs
from opengrid.services.samples import Samples
from opengrid.store.database import Database, Transaction


def topics(
    database: Database, logs: Logs, samples: Samples, wakeups: Wakeups, *, now_us: Callable[[], int]
) -> dict[str, Callable[[str, str], Feed]]:
    """Return what makes the feed of a topic, by the topic's name, or by what names of its kind begin with."""

    def hints(version: Callable[[str], Callable[[Transaction], str | None]]) -> Callable[[str, str], Feed]:
        return lambda topic, name: HintFeed(database, topic, version(name), CHANGES, pause_s=0.5)

    def followed(attempt_id: str) -> None:
        wakeups.notify(f"attempt:{attempt_id}")

    return {
        "runs": lambda topic, _: RunsFeed(database, topic),
        "machines": lambda topic, _: HintFeed(database, topic, machines_version, CHANGES, pause_s=1.0),
        "run:": lambda topic, name: RunFeed(database, topic, name, now_us=now_us),
        "experiment:": hints(experiment_version),
        "artifacts:": hints(artifacts_version),
        "scalars:": lambda topic, name: HintFeed(database, topic, scalars_version(name), "scalars", pause_s=1.0),
        "system:": lambda topic, name: HintFeed(database, topic, samples_version(samples, name), SAMPLES, pause_s=2.0),
        "logs:": lambda topic, name: LogsFeed(logs, topic, name, followed),
    }
