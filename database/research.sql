-- Trials of optimisations: a database of their own, whose user sees nothing else. Optuna makes its tables itself.
-- Run as root after: SET @research_password = '...'; safe to run again.
CREATE DATABASE IF NOT EXISTS `3t_research` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

SET @statement = CONCAT('CREATE USER IF NOT EXISTS ''3t_research''@''%'' IDENTIFIED BY ', QUOTE(@research_password));
PREPARE create_research FROM @statement;
EXECUTE create_research;
DEALLOCATE PREPARE create_research;

SET @statement = CONCAT('ALTER USER ''3t_research''@''%'' IDENTIFIED BY ', QUOTE(@research_password));
PREPARE alter_research FROM @statement;
EXECUTE alter_research;
DEALLOCATE PREPARE alter_research;

GRANT ALL PRIVILEGES ON `3t_research`.* TO '3t_research'@'%';
FLUSH PRIVILEGES;
