"""which objects retention has removed, found by their UID"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

REMOVED = sa.text("state = 'REMOVED'")


def upgrade() -> None:
    op.create_index(
        "removed_instance", "instance", ["sop_instance_uid"], sqlite_where=REMOVED, postgresql_where=REMOVED
    )


def downgrade() -> None:
    op.drop_index("removed_instance", table_name="instance")
