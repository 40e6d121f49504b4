"""Arguments as they were typed, beside what they became."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; of older experiments only what the arguments became is known."""
    op.add_column("experiments", sa.Column("typed", sa.JSON(), nullable=True))
    op.execute("UPDATE experiments SET typed = arguments")
