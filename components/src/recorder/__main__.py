"""Run: record until SIGTERM."""

from __future__ import annotations

import sys

from recorder.service import body
from shared import service

if __name__ == "__main__":
    sys.exit(service.run("recorder", body))
