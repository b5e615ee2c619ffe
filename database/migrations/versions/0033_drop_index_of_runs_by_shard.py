"""Drop the index of runs by shard, which that of the living replaces."""

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DROP INDEX IF EXISTS ix_runs_shard_status ON runs")


def downgrade() -> None:
    op.execute("CREATE INDEX IF NOT EXISTS ix_runs_shard_status ON runs (shard_id, status)")
