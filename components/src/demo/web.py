"""What there is to look at in a browser: Flower, and Prometheus where it is installed."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from demo.credentials import Credentials
from demo.layout import DemoPlan
from shared.config import Settings
from shared.native_servers import (
    LOOPBACK,
    PROJECT_ROOT,
    ServerMissingError,
    find_program,
    write_private,
)

SCRAPE_SECS = 2
RETENTION = "2d"
RULES = PROJECT_ROOT / "setup" / "prometheus" / "alerts.yml"


@dataclass(frozen=True)
class WebPages:
    """Ports of the pages; ``prometheus`` is None where the program is not installed."""

    flower: int
    prometheus: int | None

    def lines(self, home: Path) -> list[str]:
        """One line of text per page; the longest last, where a narrow screen cuts it."""
        lines = []
        if self.prometheus is not None:
            lines.append(f"Prometheus http://{LOOPBACK}:{self.prometheus}")
        return [
            *lines,
            f"Flower http://{LOOPBACK}:{self.flower} (user flower, {password_file(home)})",
        ]


def pages_of(settings: Settings) -> WebPages:
    """The pages that can be had on this machine, on the ports of ``demo``."""
    installed = prometheus_program() is not None
    return WebPages(
        flower=settings.demo.flower_port,
        prometheus=settings.demo.prometheus_port if installed else None,
    )


def prometheus_program() -> Path | None:
    """Prometheus, if it is installed (`make prometheus`)."""
    try:
        return find_program("prometheus")
    except ServerMissingError:
        return None


def password_file(home: Path) -> Path:
    """Flower's password; its user is ``flower``."""
    file = home / "flower_password"
    return file.relative_to(PROJECT_ROOT) if file.is_relative_to(PROJECT_ROOT) else file


def prepare_pages(plan: DemoPlan, credentials: Credentials) -> None:
    """Write what the pages' processes read: Flower's secrets, Prometheus' configuration."""
    file = plan.paths.home / "flower_password"
    if not file.exists():
        write_private(file, secrets.token_urlsafe(12) + "\n")
    own = {
        "redis": {"password": credentials.redis_password},
        "flower": {"password": file.read_text(encoding="utf-8").strip()},
    }
    write_private(plan.paths.flower_secrets, yaml.safe_dump(own, sort_keys=False))
    text = yaml.safe_dump(prometheus_config(plan), sort_keys=False)
    write_private(plan.paths.prometheus_config, text)


def prometheus_config(plan: DemoPlan) -> dict[str, Any]:
    """Scrapes whoever has a port of its own, and whoever wrote its address down."""
    fixed = {"order_gateway": plan.settings.order_gateway.port}
    for number, port in enumerate(plan.observer_ports, start=1):
        fixed[f"exchange_observer_{number}"] = port
    jobs: list[dict[str, Any]] = [
        {"job_name": name, "static_configs": [{"targets": [f"{LOOPBACK}:{port}"]}]}
        for name, port in fixed.items()
    ]
    if plan.pages is not None:
        target = f"{LOOPBACK}:{plan.pages.flower}"
        jobs.append({"job_name": "flower", "static_configs": [{"targets": [target]}]})
    addresses = str(plan.paths.metrics_targets / "*.json")
    jobs.append({"job_name": "processes", "file_sd_configs": [{"files": [addresses]}]})
    return {
        "global": {"scrape_interval": f"{SCRAPE_SECS}s", "evaluation_interval": f"{SCRAPE_SECS}s"},
        "rule_files": [str(RULES)],
        "scrape_configs": jobs,
    }


def prometheus_command(plan: DemoPlan, program: Path, port: int) -> tuple[str, ...]:
    """Prometheus on loopback, with exemplars: the way from a panel to a trace."""
    return (
        str(program),
        f"--config.file={plan.paths.prometheus_config}",
        f"--storage.tsdb.path={plan.paths.home / 'prometheus'}",
        f"--storage.tsdb.retention.time={RETENTION}",
        f"--web.listen-address={LOOPBACK}:{port}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    )
