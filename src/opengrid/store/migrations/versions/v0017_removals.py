"""What is to be removed from the disk."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "removals", sa.Column("id", sa.Text(), primary_key=True), sa.Column("what", sa.JSON(), nullable=False)
    )
