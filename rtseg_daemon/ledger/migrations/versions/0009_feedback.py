"""structure sets that came back, their ROIs, names, grids of CTs, and jobs in the shadow"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("job", sa.Column("shadow", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "returned_set",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("series_instance_uid", sa.String(), nullable=False),
        sa.Column("study_instance_uid", sa.String(), nullable=False),
        sa.Column("frame_of_reference_uid", sa.String(), nullable=False),
        sa.Column("referenced_series", sa.JSON(), nullable=False),
        sa.Column("patient_id", sa.String(), nullable=False),
        sa.Column("calling_ae", sa.String(), nullable=False),
        sa.Column("calling_host", sa.String(), nullable=False),
        sa.Column("came_by", sa.String(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("made_at", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column(
            "approval",
            sa.Enum("APPROVED", "UNAPPROVED", "REJECTED", name="approval", native_enum=False, length=16),
            nullable=False,
        ),
        sa.Column("approved_at", sa.String(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "RECEIVED",
                "WAITING",
                "PAIRED",
                "NAMES",
                "MEASURED",
                "APART",
                name="returnedstate",
                native_enum=False,
                length=16,
            ),
            nullable=False,
        ),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("series_id", sa.Integer(), nullable=True),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("superseded_by_id", sa.Integer(), nullable=True),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"]),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.ForeignKeyConstraint(["superseded_by_id"], ["returned_set.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("sop_instance_uid", "sha256", name="one_row_per_returned_object"),
    )
    op.create_index("ix_returned_set_study_instance_uid", "returned_set", ["study_instance_uid"])
    op.create_index("returned_by_state", "returned_set", ["state", "id"])
    op.create_index("returned_of_series", "returned_set", ["series_id", "id"])
    op.create_index("returned_of_job", "returned_set", ["job_id"])
    op.create_table(
        "returned_roi",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("set_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("contours", sa.Integer(), nullable=False),
        sa.Column("organ", sa.String(), nullable=True),
        sa.Column("named_by", sa.String(), nullable=True),
        sa.Column("fit", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("counts", sa.Boolean(), nullable=False),
        sa.Column("ask", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("job_id", sa.Integer(), nullable=True),
        sa.Column("difference", sa.JSON(), nullable=True),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["set_id"], ["returned_set.id"]),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("returned_roi_of_set", "returned_roi", ["set_id"])
    op.create_index("returned_roi_that_counts", "returned_roi", ["organ", "counts"])
    op.create_table(
        "roi_name",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("organ", sa.String(), nullable=True),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "series_geometry",
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("last_instance_id", sa.Integer(), nullable=False),
        sa.Column("geometry", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"]),
        sa.PrimaryKeyConstraint("series_id", "last_instance_id"),
    )


def downgrade() -> None:
    for table in ("series_geometry", "roi_name", "returned_roi", "returned_set"):
        op.drop_table(table)
    op.drop_column("job", "shadow")
