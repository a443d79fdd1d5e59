"""why an alarm was not sent, and who has seen it"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("alarm", sa.Column("error", sa.String(), nullable=True))
    op.add_column("alarm", sa.Column("acknowledged_at", sa.Double(), nullable=True))
    op.add_column("alarm", sa.Column("acknowledged_by", sa.String(), nullable=True))


def downgrade() -> None:
    for column in ("acknowledged_by", "acknowledged_at", "error"):
        op.drop_column("alarm", column)
