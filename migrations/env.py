"""How Alembic reaches the catalogue: through the connection the program hands it, or by LOOKALIKE_CATALOGUE."""

import os

from alembic import context
from sqlalchemy import Connection, create_engine

from search.database.tables import metadata


def run(connection: Connection) -> None:
    """Run the migrations inside the caller's transaction."""
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    # Only the developer's `alembic` command comes here (alembic.ini).
    with create_engine(os.environ["LOOKALIKE_CATALOGUE"]).begin() as own:
        run(own)
