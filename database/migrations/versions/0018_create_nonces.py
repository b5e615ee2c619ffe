"""Create nonces."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS nonces (
    signer VARCHAR(42) NOT NULL,
    last_nonce BIGINT NOT NULL,
    PRIMARY KEY (signer)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE nonces")
