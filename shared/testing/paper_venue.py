"""The real paper exchange as a process of its own, for tests that need a venue."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Self

import requests

ADMIN_TOKEN = "admin-token-of-the-test-venue-0123456789"
_START_TIMEOUT_SECS = 60


class PaperVenue:
    """``python -m paper_exchange`` on a port of its own; its state survives ``stop``/``start``.

    ``accounts`` maps an address to USDC deposited at the first start.
    """

    def __init__(
        self,
        folder: Path,
        accounts: dict[str, str] | None = None,
        *arguments: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._arguments = list(arguments)
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        accounts_file = folder / "accounts.json"
        entries = [
            {"address": address, "deposit_usdc": usdc} for address, usdc in (accounts or {}).items()
        ]
        accounts_file.write_text(json.dumps(entries))
        self._accounts_file = accounts_file

    @property
    def ws_url(self) -> str:
        """Where the WebSocket is."""
        return "ws" + self.url.removeprefix("http") + "/ws"

    def start(self) -> None:
        """Start it and wait until it says that it is ready; a later start keeps the port."""
        log = (self._folder / "paper_exchange.log").open("ab")
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "paper_exchange",
                f"--port={self._port}",
                f"--state={self._folder / 'state.sqlite'}",
                f"--accounts={self._accounts_file}",
                f"--admin-token={ADMIN_TOKEN}",
                *self._arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        log.close()
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line.startswith("ready "):
            self.stop()
            words = (self._folder / "paper_exchange.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the paper exchange did not start: {line} {words}")
        self.url = line.removeprefix("ready ")
        self._port = int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """End it by SIGTERM; harmless when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_START_TIMEOUT_SECS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def admin(self, path: str, body: dict[str, object]) -> requests.Response:
        """Call an admin route, such as a fault on request."""
        response = requests.post(
            f"{self.url}/admin/{path}",
            json=body,
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
            timeout=10,
        )
        response.raise_for_status()
        return response

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
