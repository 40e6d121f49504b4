"""How long gangs of a cluster wait for a machine in the place of a lost one."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the column."""
    op.add_column("clusters", sa.Column("replace_s", sa.Double()))
