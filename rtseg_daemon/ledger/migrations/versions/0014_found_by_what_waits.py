"""indices by which a long ledger is asked as quickly as a short one"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

INDICES = (
    ("job_by_source", "job", ["route", "bundle", "bundle_digest", "id"], ("shadow = 0", "NOT shadow")),
    ("job_by_state", "job", ["state", "id", "shadow"], None),
    ("job_by_time", "job", ["created_at"], None),
    ("job_superseded", "job", ["supersedes_id"], ("supersedes_id IS NOT NULL",) * 2),
    ("carried_by", "series_association", ["association_id"], None),
    ("delivery_by_state", "delivery", ["state", "job_id"], None),
    ("alarm_unsent", "alarm", ["id"], ("sent_at IS NULL",) * 2),
    ("alarm_unseen", "alarm", ["id"], ("acknowledged_at IS NULL",) * 2),
    ("returned_by_time", "returned_set", ["updated_at"], None),
)


def upgrade() -> None:
    op.drop_index("job_by_state", "job")  # made anew with a column more, so that a count looks at no row
    for name, table, columns, conditions in INDICES:
        sqlite, postgresql = map(sa.text, conditions) if conditions else (None, None)
        op.create_index(name, table, columns, sqlite_where=sqlite, postgresql_where=postgresql)


def downgrade() -> None:
    for name, table, _, _ in INDICES:
        op.drop_index(name, table)
    op.create_index("job_by_state", "job", ["state", "id"])
