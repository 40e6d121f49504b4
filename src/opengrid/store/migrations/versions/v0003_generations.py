"""Generations: how often an attempt's ranks were started, why each start ended, and from where the next went on."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the table, and what machines say about restarts."""
    op.create_table(
        "generations",
        sa.Column("attempt_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("cause", sa.JSON(), nullable=True),
        sa.Column("restore", sa.JSON(), nullable=True),
        sa.Column("first_step", sa.BigInteger(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["attempt_id"], ["attempts.id"], name=op.f("fk_generations_attempts"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("attempt_id", "number", name=op.f("pk_generations")),
    )
    op.execute(  # of attempts that are under way
        "INSERT INTO generations (attempt_id, number, created_us, started_us)"
        " SELECT id, generation, created_us, created_us FROM attempts WHERE generation > 0"
    )
    op.add_column("attempt_machines", sa.Column("restored", sa.Integer(), server_default="0", nullable=False))
    op.add_column(
        "attempt_machines", sa.Column("is_retryable", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("attempt_machines", sa.Column("preempted", sa.Boolean(), server_default=sa.false(), nullable=False))
