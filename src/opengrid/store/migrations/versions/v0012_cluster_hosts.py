"""The hosts of clusters that we have started by ssh."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the column."""
    op.add_column("clusters", sa.Column("hosts", sa.JSON()))
