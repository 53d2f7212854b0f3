"""What Alembic runs for every command: our connection and table of revisions, no other settings.

It belongs to Alembic and is run by `service.database.migrate` only.
"""

from __future__ import annotations

from alembic import context

from service.database.schema import REVISION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=REVISION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
