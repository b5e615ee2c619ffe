"""Create alert_outbox."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE IF NOT EXISTS alert_outbox (
    id BIGINT NOT NULL AUTO_INCREMENT,
    kind VARCHAR(32) NOT NULL,
    subject VARCHAR(128) NOT NULL,
    episode INTEGER NOT NULL,
    severity ENUM('info','warning','critical') NOT NULL,
    title VARCHAR(255) NOT NULL,
    body VARCHAR(2000) NOT NULL,
    state ENUM('held','pending','sent','given_up','ended') NOT NULL,
    settled BOOL NOT NULL,
    repeats INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_ms BIGINT NOT NULL,
    delivered JSON NOT NULL,
    error VARCHAR(255) NOT NULL,
    first_ms BIGINT NOT NULL,
    last_ms BIGINT NOT NULL,
    sent_ms BIGINT,
    PRIMARY KEY (id),
    CONSTRAINT uq_alert_episode UNIQUE (kind, subject, episode),
    KEY ix_alert_outbox_due (state, next_attempt_ms)
) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TABLE alert_outbox")
