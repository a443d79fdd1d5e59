"""jobs that were put off: how often, until when, and behind which others they stand"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("job", sa.Column("put_offs", number, nullable=False, server_default=sa.text("0")))
    op.add_column("job", sa.Column("not_before", sa.Double()))
    op.add_column("job", sa.Column("behind", number, nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    for name in ("behind", "not_before", "put_offs"):
        op.drop_column("job", name)
