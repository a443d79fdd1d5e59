"""which of several hosts has the file of a structure set that came back"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("returned_set", sa.Column("host", sa.String(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("returned_set", "host")
