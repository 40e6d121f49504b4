"""The schema's revisions: which one this code wants, and how a database gets there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sqlalchemy import Connection, insert

from opengrid.core.errors import Unusable
from opengrid.store.tables import metadata, schema_revision


@dataclass(frozen=True)
class Schema:
    """The revisions in a folder of migrations: files `versions/v<revision>_<what>.py`, in the order of their names."""

    folder: Path

    @cached_property
    def revisions(self) -> tuple[str, ...]:
        """All revisions, oldest first. Read from the names of the files: importing Alembic takes 0.2 s."""
        files = (self.folder / "versions").glob("v[0-9]*_*.py")
        return tuple(sorted(file.name[1:].split("_")[0] for file in files))

    @property
    def head(self) -> str:
        """The revision that this code wants."""
        return self.revisions[-1]

    def is_due(self, revision: str | None, where: str) -> bool:
        """Return whether a database of this revision must be created or migrated; Unusable when it is too new."""
        if revision is not None and revision not in self.revisions:
            raise Unusable(
                f"{where} was written by a newer OpenGrid: its schema is {revision}, this one knows {self.head}",
                hint="nothing was changed; use the newer version again (pip install --upgrade opengrid)",
            )
        return revision != self.head

    def create(self, connection: Connection) -> None:
        """Make all tables in an empty database, without Alembic: a first start should not take 0.3 s longer."""
        metadata.create_all(connection, checkfirst=False)
        schema_revision.create(connection)
        connection.execute(insert(schema_revision).values(version_num=self.head))

    def upgrade(self, connection: Connection) -> None:
        """Migrate to the newest revision inside the connection's transaction: all of it or nothing."""
        from alembic import command  # takes 0.2 s to import and is needed only when a migration is due
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(self.folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


#: What this version of OpenGrid wants.
CURRENT = Schema(Path(__file__).parent / "migrations")
