"""Run by Alembic for every command: brings the database of the given connection to a revision."""

from alembic import context

from flows.library.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,  # SQLite's too: a migration that is killed has not happened
)
with context.begin_transaction():
    context.run_migrations()
