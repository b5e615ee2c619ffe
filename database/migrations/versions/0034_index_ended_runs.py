"""Index runs by when they ended, in which order they leave the database."""

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX IF NOT EXISTS ix_runs_completed ON runs (completed_tick)")


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS ix_runs_completed ON runs")
