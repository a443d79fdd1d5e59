"""Alembic's entry: runs on the connection handed over, inside its transaction."""

from alembic import context

from rtseg_daemon.ledger import cluster_tables, comparison_tables, feedback_tables, people, schema

KNOWN = (cluster_tables, comparison_tables, feedback_tables, people)
"""Imported so that their tables are known."""

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=schema.Base.metadata, render_as_batch=True)
context.run_migrations()
