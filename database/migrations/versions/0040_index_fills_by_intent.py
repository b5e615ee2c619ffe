"""Index fills by their intent: its fees are summed with every new fill."""

from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX IF NOT EXISTS ix_order_fills_intent ON order_fills (intent_id)")


def downgrade() -> None:
    op.execute("DROP INDEX IF EXISTS ix_order_fills_intent ON order_fills")
