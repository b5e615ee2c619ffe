"""Create cohort_results."""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS cohort_results (
    epoch INTEGER NOT NULL,
    product_id INTEGER NOT NULL,
    runs BIGINT NOT NULL,
    wins BIGINT NOT NULL,
    sum_win DOUBLE NOT NULL,
    sum_loss DOUBLE NOT NULL,
    PRIMARY KEY (epoch, product_id)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE cohort_results")
