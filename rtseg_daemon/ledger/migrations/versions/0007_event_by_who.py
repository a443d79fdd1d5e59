"""who did what is found without reading every event"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("event_by_who", "event", ["who", "id"])


def downgrade() -> None:
    op.drop_index("event_by_who", "event")
