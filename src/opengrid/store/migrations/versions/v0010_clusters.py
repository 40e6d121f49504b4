"""Clusters, who uses which by default, and on which one an attempt runs."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the tables and the column."""
    op.create_table(
        "clusters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("possible", sa.JSON(), nullable=False),
        sa.Column("work_dir", sa.Text(), nullable=False),
        sa.Column("python", sa.Text()),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_clusters")),
    )
    op.create_table(
        "default_clusters",
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["cluster"], ["clusters.name"], name=op.f("fk_default_clusters_clusters"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user", name=op.f("pk_default_clusters")),
    )
    op.add_column("attempts", sa.Column("cluster", sa.Text(), nullable=False, server_default="local"))
