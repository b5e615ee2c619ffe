"""Create order_execution_log."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS order_execution_log (
    id BIGINT NOT NULL AUTO_INCREMENT,
    intent_id VARCHAR(96) NOT NULL,
    cloid VARCHAR(34) NOT NULL,
    symbol VARCHAR(32) NOT NULL,
    plan_epoch BIGINT NOT NULL,
    leg VARCHAR(16) NOT NULL,
    origin ENUM('reconcile','hand','flatten','take_profit') NOT NULL,
    side ENUM('buy','sell') NOT NULL,
    size NUMERIC(28, 10) NOT NULL,
    order_type ENUM('market','limit') NOT NULL,
    tif ENUM('Ioc','Gtc','Alo') NOT NULL,
    reduce_only BOOL NOT NULL,
    limit_price NUMERIC(28, 10) NOT NULL,
    state ENUM(
        'PENDING','SENT','RESTING','UNKNOWN',
        'FILLED','PARTIAL','CANCELLED','REJECTED','EXPIRED','NOT_PLACED'
    ) NOT NULL,
    open_symbol VARCHAR(32) GENERATED ALWAYS AS (
        CASE WHEN state IN ('PENDING','SENT','RESTING','UNKNOWN') THEN symbol END
    ) STORED,
    nonce BIGINT,
    expires_after_ms BIGINT,
    body_sha256 VARCHAR(64),
    oid BIGINT,
    filled_size NUMERIC(28, 10) NOT NULL,
    avg_price NUMERIC(28, 10),
    fee_usd NUMERIC(28, 10) NOT NULL,
    reason VARCHAR(255),
    request JSON NOT NULL,
    venue_reply JSON,
    created_ms BIGINT NOT NULL,
    sent_ms BIGINT,
    updated_ms BIGINT NOT NULL,
    resolved_ms BIGINT,
    PRIMARY KEY (id),
    CONSTRAINT uq_intent_leg UNIQUE (symbol, plan_epoch, leg),
    UNIQUE (intent_id),
    UNIQUE (cloid),
    UNIQUE (open_symbol),
    KEY ix_order_log_created (created_ms),
    KEY ix_order_log_state (state)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE order_execution_log")
