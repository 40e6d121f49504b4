"""The tables, as the newest migration leaves them. Columns are named like the fields of core.records.

Times are integers: microseconds since the epoch (`_us`), nanoseconds for ranks' exits (`_ns`). A change here needs a
migration in migrations/versions; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    false,
    literal_column,
)
from sqlalchemy.engine import CursorResult, RowMapping

from opengrid.core.gang import Plan
from opengrid.core.protocol import Restore
from opengrid.core.records.attempts import AttemptState, GenerationPhase, MachineState
from opengrid.core.records.clusters import ClusterHosts
from opengrid.core.records.datastores import DatastoreKind, DatastoreState
from opengrid.core.records.experiments import ExperimentState, RootCause
from opengrid.core.records.removals import Removal
from opengrid.core.spec import RunSpec
from opengrid.store.columns import Document, Member, Sequence, Text

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("user", Text, nullable=False),
    Column("spec", Document(RunSpec), nullable=False),
    Column("plan", Document(Plan), nullable=False),
    Column("created_us", BigInteger, nullable=False, index=True),
)

run_labels = Table(
    "run_labels",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Index(None, "key", "value"),
)

experiments = Table(
    "experiments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("run_id", Text, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("index", Integer, nullable=False),
    Column("name", Text, nullable=False, unique=True),
    Column("arguments", Document(tuple[str, ...]), nullable=False),
    Column("typed", Document(tuple[str, ...])),  # none is NULL, though it may be: it was added to a table with rows
    Column("params", Document(dict[str, object]), nullable=False),
    Column("state", Member(ExperimentState), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("exit_code", Integer),
    Column("root_cause", Document(RootCause)),
    Column("stop_requested", Text),
    Column("created_us", BigInteger, nullable=False),
    Column("started_us", BigInteger),
    Column("ended_us", BigInteger),
    UniqueConstraint("run_id", "index"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("experiment_id", Text, ForeignKey("experiments.id", ondelete="CASCADE"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", Member(AttemptState), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("phase", Member(GenerationPhase), nullable=False),
    Column("store_address", Text),
    Column("store_port", Integer),
    Column("outcome", Text),
    Column("reason", Text, nullable=False),
    Column("token_hash", Text, nullable=False),
    Column("token_expires_us", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    Column("cluster", Text, nullable=False, server_default="local"),
    Column("holding", BigInteger, nullable=False, server_default="0"),
    Column("held_us", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("experiment_id", "number"),
)

attempt_machines = Table(
    "attempt_machines",
    metadata,
    Column("attempt_id", Text, ForeignKey("attempts.id", ondelete="CASCADE"), primary_key=True),
    Column("index", Integer, primary_key=True, autoincrement=False),
    Column("state", Member(MachineState), nullable=False),
    Column("devices", Document(tuple[tuple[str, ...], ...]), nullable=False),
    Column("session_hash", Text, index=True),
    Column("hostname", Text),
    Column("address", Text),
    Column("facts_seen", BigInteger, nullable=False),
    Column("prepared", Integer, nullable=False),
    Column("restored", Integer, nullable=False, server_default="0"),
    Column("store_port", Integer),
    Column("started", Integer, nullable=False),
    Column("ended", Integer, nullable=False),
    Column("met", Boolean),
    Column("broken", Text),
    Column("is_retryable", Boolean, nullable=False, server_default=false()),
    Column("preempted", Boolean, nullable=False, server_default=false()),
)

generations = Table(
    "generations",
    metadata,
    Column("attempt_id", Text, ForeignKey("attempts.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("created_us", BigInteger, nullable=False),
    Column("started_us", BigInteger),
    Column("ended_us", BigInteger),
    Column("cause", Document(RootCause)),
    Column("restore", Document(Restore)),
    Column("first_step", BigInteger),
    Column("last_step", BigInteger),
)

rank_exits = Table(
    "rank_exits",
    metadata,
    Column("attempt_id", Text, ForeignKey("attempts.id", ondelete="CASCADE"), primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("rank", Integer, primary_key=True, autoincrement=False),
    Column("exit_code", Integer, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("exception", Text),
    Column("frame", Text),
    Column("log_tail", Text, nullable=False),
    Column("peak_mib", Integer),
    Column("available_mib", Integer),
    Column("oom_killed", Boolean),
)

events = Table(
    "events",
    metadata,
    Column("sequence", Sequence, primary_key=True),  # of all events: the order in which they were written
    Column("experiment_id", Text, ForeignKey("experiments.id", ondelete="CASCADE"), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("attempt", Integer),
    Column("generation", Integer),
    Column("kind", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("reason", Text, nullable=False),
    Index(None, "experiment_id", "sequence"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("experiment_id", Text, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Text, primary_key=True),  # of node and path, which may be longer than what can be indexed
    Column("node", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("digest", Text, nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("modified_us", BigInteger, nullable=False),
    Column("collected_us", BigInteger, nullable=False),
)

event_files = Table(
    "event_files",
    metadata,
    Column("experiment_id", Text, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("attempt", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("node", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("tags", Document(tuple[str, ...]), nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("points", BigInteger, nullable=False),
    Column("problem", Text),
    Column("damaged", BigInteger, nullable=False, server_default="0"),
    Column("damaged_at", BigInteger),
)

scalars = Table(
    "scalars",
    metadata,
    Column("experiment_id", Text, ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True),
    Column("tag", Text, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("points", BigInteger, nullable=False),
    Column("first_step", BigInteger, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("last", Double),
    Column("last_text", Text),
    Column("least", Double),
    Column("least_step", BigInteger),
    Column("greatest", Double),
    Column("greatest_step", BigInteger),
    # A run's experiments in the order of a metric.
    Index(None, "run_id", "tag", "last"),
    Index(None, "run_id", "tag", "least"),
    Index(None, "run_id", "tag", "greatest"),
)

datastores = Table(
    "datastores",
    metadata,
    Column("name", Text, primary_key=True),
    Column("newest", Integer, nullable=False),  # highest version ever given out
)

datastore_versions = Table(
    "datastore_versions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("user", Text, nullable=False),
    Column("state", Member(DatastoreState), nullable=False),
    Column("source", Text, nullable=False),
    Column("digest", Text),
    Column("files", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("kind", Member(DatastoreKind), nullable=False, server_default="copied"),
    Column("upload", Text),
    Column("round", Integer, nullable=False, server_default="1"),
    Column("ended_us", BigInteger),
    ForeignKeyConstraint(["name"], ["datastores.name"], ondelete="CASCADE"),
)

datastore_files = Table(
    "datastore_files",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("round", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("path", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("executable", Boolean, nullable=False),
    ForeignKeyConstraint(
        ["name", "version"], ["datastore_versions.name", "datastore_versions.version"], ondelete="CASCADE"
    ),
)

#: How a file's digest begins: enough to find its content by. An index of whole digests is four times as large, and as
#: they come in no order, most of it is written again with every few hundred files.
digest_start = literal_column("substr(digest, 1, 12)", Text())
DIGEST_START = 12
Index("ix_datastore_files_digest_start", digest_start, _table=datastore_files)

removals = Table(
    "removals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("what", Document(Removal), nullable=False),
)

run_datastores = Table(
    "run_datastores",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),  # of a version that may be deleted when its runs have ended
    Column("version", Integer, primary_key=True, autoincrement=False),
    Index(None, "name", "version"),
)

clusters = Table(
    "clusters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("engine", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("possible", Document(dict[str, int]), nullable=False),
    Column("work_dir", Text, nullable=False),
    Column("python", Text),
    Column("user", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("hosts", Document(ClusterHosts)),
    Column("replace_s", Double),
)

default_clusters = Table(
    "default_clusters",
    metadata,
    Column("user", Text, primary_key=True),
    Column("cluster", Text, ForeignKey("clusters.name", ondelete="CASCADE"), nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("name", Text, primary_key=True),
    Column("token_hash", Text, unique=True),
    Column("created_us", BigInteger, nullable=False),
)

sign_in_links = Table(
    "sign_in_links",
    metadata,
    Column("code_hash", Text, primary_key=True),
    Column("user", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("path", Text, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
)

browser_sessions = Table(
    "browser_sessions",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("user", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
)

secrets = Table(
    "secrets",
    metadata,
    Column("user", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("changed_us", BigInteger, nullable=False),
)

#: Alembic's own table, for reading the revision and for stamping a new database without importing Alembic.
schema_revision = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def all_fields(found: CursorResult[Any]) -> list[dict[str, Any]]:
    """Return all rows as keyword arguments of their records: a third of the time of fields() for each."""
    names = tuple(found.keys())
    return [dict(zip(names, row, strict=True)) for row in found.all()]


def fields(row: RowMapping) -> dict[str, Any]:
    """Return a row as keyword arguments of its record."""
    return cast("dict[str, Any]", dict(row))


def checked(changes: Mapping[str, object], allowed: frozenset[str]) -> Mapping[str, object]:
    """Return `changes` when all of them may be changed; ValueError names those that may not."""
    unknown = sorted(set(changes) - allowed)
    if unknown:
        raise ValueError(f"cannot change {', '.join(unknown)}; only {', '.join(sorted(allowed))}")
    return changes
