"""leases that count and end, processes of more than one host, and wide numbers in PostgreSQL"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("lease_token", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.add_column("job", sa.Column("lease_until", sa.Double(), nullable=True))
    op.drop_table("process")  # written anew at each start of the daemon
    op.create_table("process", sa.Column("host", sa.String(), nullable=False), *columns_of_process())
    if op.get_bind().dialect.name == "postgresql":
        widen()


def widen() -> None:
    """SQLite's numbers have 64 bits. PostgreSQL's INTEGER has 32, and a number from outside may be larger."""
    inspector = sa.inspect(op.get_bind())
    for table in inspector.get_table_names():
        columns = [one for one in inspector.get_columns(table) if isinstance(one["type"], sa.INTEGER)]
        changes = [f'ALTER COLUMN "{one["name"]}" TYPE BIGINT' for one in columns]
        if changes:
            op.execute(f'ALTER TABLE "{table}" {", ".join(changes)}')
    for sequence in inspector.get_sequence_names():
        op.execute(f'ALTER SEQUENCE "{sequence}" AS BIGINT')


def columns_of_process() -> list[sa.schema.SchemaItem]:
    """All but the host, which stands first in the key."""
    return [
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("restarts", sa.Integer(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("detail", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("host", "name"),
    ]


def downgrade() -> None:
    op.drop_table("process")
    op.create_table("process", *columns_of_process()[:-1], sa.PrimaryKeyConstraint("name"))
    op.drop_column("job", "lease_until")
    op.drop_column("job", "lease_token")
