"""Index orders by the venue's id: every new fill is looked up by it."""

from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX IF NOT EXISTS ix_order_log_oid ON order_execution_log (oid)")


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS ix_order_log_oid ON order_execution_log")
