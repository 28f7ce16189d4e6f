"""What Alembic runs: the steps, on the connection that :func:`crowd_assets.desk.database.migrate` gives."""

from alembic import context

from crowd_assets.desk.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table="desk_version"
)
with context.begin_transaction():
    context.run_migrations()
