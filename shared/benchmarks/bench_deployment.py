"""The containers: image sizes, time until all is healthy, what they need while little happens.

Needs a Docker engine and a host without a deployment of 3T, because it installs one from a clone of
this checkout and removes it, with its data, afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from shared.benchmarks.figure import Figure, NotMeasuredError
from shared.native_servers import PROJECT_ROOT

SETTLE_SECS: Final = 120.0
"""From healthy to the first look at CPU: kernels are compiled and series warm up before."""
LOOKS: Final = 5
LABEL: Final = "label=com.docker.compose.project=3t"
IMAGES: Final = (
    ("3t", "services", 300),
    ("3t-worker", "worker", 450),
    ("3t-recorder", "recorder", 450),
)
"""Image, name of its family, goal in MB."""
FIRST_STEP: Final = "LABEL org.opencontainers.image.title="
"""What setup/docker/Dockerfile does first on its base image."""


def deployment() -> list[Figure]:
    """Install twice, so that the second time has every image; look at it while it runs.

    Raises:
        NotMeasuredError: no Docker engine, or a deployment is here already.
    """
    _require_engine()
    with tempfile.TemporaryDirectory(prefix="t3-bench-") as folder:
        checkout = Path(folder) / "3t"
        _run("git", "clone", "--quiet", str(PROJECT_ROOT), str(checkout))
        try:
            _run("make", "install", folder=checkout)
            _run("make", "clean", "VOLUMES=yes", folder=checkout)
            start = time.perf_counter()
            _run("make", "install", folder=checkout)
            seconds = time.perf_counter() - start
            time.sleep(SETTLE_SECS)
            figures = [*_image_sizes(), Figure("install_s", seconds, "s", 90, "lower"), *_idle()]
        finally:
            _run("make", "clean", "VOLUMES=yes", folder=checkout)
    return figures


def _require_engine() -> None:
    if shutil.which("docker") is None:
        raise NotMeasuredError("docker is not installed")
    try:
        there = _run("docker", "ps", "--all", "--quiet", "--filter", LABEL)
        there += _run("docker", "volume", "ls", "--quiet", "--filter", "name=^3t_")
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip()
        raise NotMeasuredError(f"the Docker engine does not answer: {reason}") from error
    if there.strip():
        raise NotMeasuredError("a deployment is on this host already; it would be removed")


def _image_sizes() -> list[Figure]:
    """Of the whole image, and of what the project puts on top of its base image."""
    sizes = []
    for image, family, goal in IMAGES:
        size = int(_run("docker", "image", "inspect", "--format", "{{.Size}}", f"{image}:local"))
        layers = _run(
            *("docker", "history", "--no-trunc", "--human=false"),
            *("--format", "{{.Size}} {{.CreatedBy}}", f"{image}:local"),
        )
        sizes.append(Figure(f"image_{family}_mb", size / 1e6, "MB", goal, "lower"))
        sizes.append(Figure(f"image_{family}_added_mb", added_bytes(layers) / 1e6, "MB"))
    return sizes


def added_bytes(history: str) -> int:
    """Of the layers that ``docker history`` lists, newest first, those above the base image."""
    added = 0
    for line in history.splitlines():
        size, _, made_by = line.partition(" ")
        if made_by.startswith(FIRST_STEP):
            return added
        added += int(size)
    raise ValueError(f"no layer of the image was made by {FIRST_STEP!r}")


def _idle() -> list[Figure]:
    """Per container: mean of some looks at CPU (100 is one core), and its memory at the last."""
    cpu: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    for _ in range(LOOKS):
        lines = _run("docker", "stats", "--no-stream", "--format", "{{json .}}").splitlines()
        for line in lines:
            row = json.loads(line)
            cpu.setdefault(row["Name"], []).append(float(row["CPUPerc"].rstrip("%")))
            memory[row["Name"]] = mebibytes(row["MemUsage"].partition(" / ")[0])
    figures = [
        Figure("idle_cpu_percent", sum(sum(looks) / len(looks) for looks in cpu.values()), "%"),
        Figure("idle_memory_mib", sum(memory.values()), "MiB"),
    ]
    for name in sorted(cpu):
        figures.append(Figure(f"idle_cpu_percent.{name}", sum(cpu[name]) / LOOKS, "%"))
        figures.append(Figure(f"idle_memory_mib.{name}", memory[name], "MiB"))
    return figures


def mebibytes(text: str) -> float:
    """Docker's words for an amount of memory, such as ``87.5MiB``."""
    for unit, factor in (("GiB", 1024.0), ("MiB", 1.0), ("KiB", 1 / 1024), ("B", 1 / 1024**2)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(f"{text!r} is no amount of memory that docker stats writes")


def _run(*command: str, folder: Path = PROJECT_ROOT) -> str:
    # T3_… of this shell would reach into the containers' settings.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("T3_")}
    return subprocess.run(
        command,
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
