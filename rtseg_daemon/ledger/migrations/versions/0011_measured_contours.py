"""contours of candidates measured against those of the case and approved ones"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "measured_contours",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Integer(), nullable=False),
        sa.Column("other_job_id", sa.Integer(), nullable=True),
        sa.Column("returned_set_id", sa.Integer(), nullable=True),
        sa.Column("organs", sa.JSON(), nullable=False),
        sa.Column("trouble", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.ForeignKeyConstraint(["other_job_id"], ["job.id"]),
        sa.ForeignKeyConstraint(["returned_set_id"], ["returned_set.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("measured_of_job", "measured_contours", ["job_id"])


def downgrade() -> None:
    op.drop_index("measured_of_job", "measured_contours")
    op.drop_table("measured_contours")
