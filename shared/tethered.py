"""``python -m shared.tethered SECS COMMAND…``: a command that ends when whoever started it does.

Standard input is the tether: when it ends, because its other end was closed or its holder was
killed, the command gets SIGTERM, and its process group SIGKILL after ``SECS`` seconds. So a command
that is killed leaves nothing running behind, on any system.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path


class Tethered:
    """A process that does not outlive this one; its output goes to ``log``."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        environ: Mapping[str, str] | None = None,
        patience_secs: float = 20.0,
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self._patience_secs = patience_secs
        with log.open("ab") as output:
            # a session of its own: Ctrl-C in a terminal is for the holder, which stops in order
            self._process = subprocess.Popen(
                [sys.executable, "-m", "shared.tethered", str(patience_secs), *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if environ is None else dict(environ),
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id of the tether; the command is its child."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether the command still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Let go, and wait until the command has ended. Harmless when it has."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(self._patience_secs + 10.0)


def hold(command: Sequence[str], patience_secs: float) -> int:
    """Run ``command`` until it ends or standard input does; its exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())

    def watch() -> None:
        # unbuffered: nothing is ever sent, so this returns when the other end is gone
        os.read(sys.stdin.fileno(), 1)
        child.terminate()
        try:
            child.wait(patience_secs)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(hold(sys.argv[2:], float(sys.argv[1])))
