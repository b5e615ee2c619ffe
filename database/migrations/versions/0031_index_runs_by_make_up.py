"""Index runs by what the population's metrics group them by."""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE INDEX IF NOT EXISTS ix_runs_make_up ON runs (status, interpretation, generation)"
    )


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS ix_runs_make_up ON runs")
