"""Where state lives: MariaDB (the truth) and Redis (broker, cache and streams)."""
