"""How long attempts have machines, each counted for itself from its agent's hello."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the columns; of what came before, only the times of the attempts themselves are known."""
    op.add_column("attempts", sa.Column("holding", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("attempts", sa.Column("held_us", sa.BigInteger(), nullable=False, server_default="0"))
    machines = sa.table("attempt_machines", sa.column("attempt_id", sa.Text), sa.column("state", sa.Text))
    times = (sa.column(name, sa.BigInteger) for name in ("created_us", "ended_us", "holding", "held_us"))
    attempts = sa.table("attempts", sa.column("id", sa.Text), *times)
    all_of_it = sa.select(sa.func.count()).where(machines.c.attempt_id == attempts.c.id).correlate(attempts)
    here = all_of_it.where(machines.c.state.in_(("present", "released"))).scalar_subquery()
    has_ended = attempts.c.ended_us.is_not(None)
    op.execute(attempts.update().where(~has_ended).values(holding=here, held_us=-attempts.c.created_us * here))
    held_us = (attempts.c.ended_us - attempts.c.created_us) * all_of_it.scalar_subquery()
    op.execute(attempts.update().where(has_ended).values(held_us=held_us))
