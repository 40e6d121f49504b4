"""What is to be removed from the disk."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the table; of versions that have failed so far nothing is left to go on with: they name no upload."""
    op.create_table(
        "removals", sa.Column("id", sa.Text(), primary_key=True), sa.Column("what", sa.JSON(), nullable=False)
    )
    op.execute("UPDATE datastore_versions SET upload = NULL WHERE state = 'failed'")
