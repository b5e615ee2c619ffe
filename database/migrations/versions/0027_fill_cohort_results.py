"""Fill cohort_results with the runs that ended before it existed."""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

FILL = """
INSERT INTO cohort_results (epoch, product_id, runs, wins, sum_win, sum_loss)
SELECT
    COALESCE(
        runs.height,
        1 + (SELECT COALESCE(MAX(epochs.height), 0) FROM epochs WHERE epochs.effective_tick <= runs.completed_tick)
    ) AS epoch,
    product_id,
    COUNT(*),
    SUM(live_pnl > 0),
    SUM(GREATEST(live_pnl / start_balance, 0)),
    SUM(GREATEST(-live_pnl / start_balance, 0))
FROM runs
WHERE status = 'completed' AND fill_count > 0
GROUP BY 1, 2
"""


def upgrade() -> None:
    op.execute(FILL)


def downgrade() -> None:
    op.execute("DELETE FROM cohort_results")
