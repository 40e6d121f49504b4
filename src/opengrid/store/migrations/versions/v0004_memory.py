"""Memory at the ends of ranks."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("rank_exits", sa.Column("peak_mib", sa.Integer(), nullable=True))
    op.add_column("rank_exits", sa.Column("available_mib", sa.Integer(), nullable=True))
    op.add_column("rank_exits", sa.Column("oom_killed", sa.Boolean(), nullable=True))
