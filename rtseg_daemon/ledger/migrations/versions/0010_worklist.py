"""the worklist finds late series and rejected organs without reading every job"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("job_of_series_sent", "job", ["series_id", "no_send"])
    op.create_index("job_by_state_and_time", "job", ["state", "updated_at"])


def downgrade() -> None:
    op.drop_index("job_by_state_and_time", "job")
    op.drop_index("job_of_series_sent", "job")
