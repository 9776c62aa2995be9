"""Alembic runs this file for every command: it migrates the database of the given connection."""

from alembic import context

from flows.library.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,  # in SQLite too: a killed migration leaves no trace
)
with context.begin_transaction():
    context.run_migrations()
