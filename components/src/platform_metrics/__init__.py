"""The state of the platform as metrics: read from MariaDB and Redis, served at ``/metrics``."""
