"""Index the living runs by what they are counted by, so that counting reads no rows."""

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX IF NOT EXISTS ix_runs_living ON runs (status, shard_id, product_id)")


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS ix_runs_living ON runs")
