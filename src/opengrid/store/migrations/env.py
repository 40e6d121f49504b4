"""What Alembic executes: the migrations, inside the transaction of the connection that store.schema hands over."""

from alembic import context

from opengrid.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # SQLite's is, once BEGIN is explicit
)
context.run_migrations()
