"""A research worker beside the demo, where it is asked for: its secrets, its database, its process.

It takes all the time it gets, so a demo has none by default.
"""

from __future__ import annotations

import secrets
import sys

import yaml

from demo.credentials import Credentials
from demo.layout import DemoPlan
from shared.config import load_secrets
from shared.native_servers import PROJECT_ROOT, write_private

NAME = "celery_worker_research"


def prepare_research(plan: DemoPlan, credentials: Credentials) -> None:
    """The database of trials and its user, on the demo's MariaDB, and the worker's secrets."""
    file = plan.paths.research_secrets
    if file.exists():
        password = load_secrets(file).database.research_password.get_secret_value()
    else:
        password = secrets.token_urlsafe(24)
    content = {
        "database": {"app_password": credentials.app_password, "research_password": password},
        "redis": {"password": credentials.redis_password},
    }
    write_private(file, yaml.safe_dump(content, sort_keys=False))
    script = (PROJECT_ROOT / "database" / "research.sql").read_text(encoding="utf-8")
    plan.mariadb.execute_sql(script, {"research_password": password})


def research_command() -> tuple[str, ...]:
    """What a person would type; behind everything that trades."""
    return ("nice", "-n", "10", sys.executable, "-m", "deployment.start", "celery-worker-research")
