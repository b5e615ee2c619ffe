"""Create the procedure that drops the oldest partition of run_fills.

As its owner, like add_run_fills_days; it refuses every partition that could still be written to.
"""

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

CREATE = """
CREATE OR REPLACE PROCEDURE drop_run_fills_day(IN end_ms BIGINT)
SQL SECURITY DEFINER
MODIFIES SQL DATA
COMMENT 'Drops the oldest partition, which must end at end_ms, a whole day ago or more.'
BEGIN
    DECLARE today_ms BIGINT DEFAULT FLOOR(UNIX_TIMESTAMP() / 86400) * 86400000;
    DECLARE oldest VARCHAR(64);
    IF end_ms IS NULL OR end_ms > today_ms - 86400000 THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'fills of today and yesterday stay';
    END IF;
    SELECT partition_name INTO oldest FROM information_schema.partitions
    WHERE table_schema = DATABASE() AND table_name = 'run_fills'
        AND partition_ordinal_position = 1 AND partition_description = end_ms;
    IF oldest IS NULL THEN
        SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the oldest partition of run_fills ends at another time';
    END IF;
    SET SESSION lock_wait_timeout = 10;
    EXECUTE IMMEDIATE CONCAT('ALTER TABLE run_fills DROP PARTITION ', oldest);
END
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP PROCEDURE drop_run_fills_day")
