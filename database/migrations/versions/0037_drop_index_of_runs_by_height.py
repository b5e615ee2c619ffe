"""Drop the index of runs by height, which no statement reads and every epoch rewrote."""

from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DROP INDEX IF EXISTS ix_runs_height ON runs")


def downgrade() -> None:
    op.execute("CREATE INDEX IF NOT EXISTS ix_runs_height ON runs (height)")
