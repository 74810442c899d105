"""How Alembic reaches the database: by the connection that `Database.upgrade` hands over, inside its transaction."""

from alembic import context

from tracker.store.tables import Table

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Table.metadata, render_as_batch=True
)
context.run_migrations()
