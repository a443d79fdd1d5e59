"""Alembic's entry: runs on the connection handed over, inside its transaction."""

from alembic import context

from rtseg_daemon.ledger.people import Account

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Account.metadata, render_as_batch=True)
context.run_migrations()
