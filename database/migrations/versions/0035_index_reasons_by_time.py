"""Index the reasons of reconciliation by time, so that deleting old ones reads no others."""

from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX IF NOT EXISTS ix_reconciliation_log_at ON reconciliation_log (at_ms)")


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS ix_reconciliation_log_at ON reconciliation_log")
