"""What the host knows: how much of its disk is free."""

from __future__ import annotations

import shutil

from shared.state_metrics import Reading


def read(path: str = ".") -> Reading:
    """One reading of the disk that ``path`` is on; raises ``OSError``.

    A container's own files are on the disk that holds Docker's images, logs and volumes.
    """
    disk = shutil.disk_usage(path)
    return {"t3_disk_free_ratio": {(): disk.free / disk.total}}
