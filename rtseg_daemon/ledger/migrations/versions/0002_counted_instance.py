"""what a count of the PACS is about"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("series", sa.Column("counted_instance_id", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("series", "counted_instance_id")
