"""How many records of event files are damaged, and where the first of them begins."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the columns; files that were read before are not read again."""
    op.add_column("event_files", sa.Column("damaged", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("event_files", sa.Column("damaged_at", sa.BigInteger()))
