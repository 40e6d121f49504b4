"""What datastore versions consist of, and which runs use them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the columns and the tables."""
    op.add_column("datastore_versions", sa.Column("kind", sa.Text(), nullable=False, server_default="copied"))
    op.add_column("datastore_versions", sa.Column("upload", sa.Text()))
    op.add_column("datastore_versions", sa.Column("round", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("datastore_versions", sa.Column("ended_us", sa.BigInteger()))
    op.create_table(
        "datastore_files",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("round", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("executable", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["name", "version"],
            ["datastore_versions.name", "datastore_versions.version"],
            name=op.f("fk_datastore_files_datastore_versions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("name", "version", "round", "position", name=op.f("pk_datastore_files")),
    )
    op.create_index(op.f("ix_datastore_files_digest"), "datastore_files", ["digest"], unique=False)
    op.create_table(
        "run_datastores",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_datastores_runs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "name", "version", name=op.f("pk_run_datastores")),
    )
    op.create_index(op.f("ix_run_datastores_name_version"), "run_datastores", ["name", "version"], unique=False)
