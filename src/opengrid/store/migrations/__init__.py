"""How the schema came to be what it is. Alembic runs these; a released revision is never changed."""
