"""The one way to compile: strict IEEE arithmetic, cached on disk, typed for mypy.

``fastmath=False`` forbids re-association and fused multiply-add, so a kernel gives the bits of the
same expression in plain Python. Compilation is lazy (importing compiles nothing) and cached in
``NUMBA_CACHE_DIR`` when that is set, else beside the source. Numba invalidates a cached function by
the date of its own file only: compiled functions that call each other therefore live in one file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def jit(function: F) -> F:
    """Compile ``function`` on first call; divisions follow IEEE (no ZeroDivisionError)."""
    compiled = njit(cache=True, fastmath=False, error_model="numpy", nogil=True)(function)
    return cast(F, compiled)


def inlined(function: F) -> F:
    """As :func:`jit`, copied into every compiled caller: a call costs as much as a small kernel."""
    compiled = njit(cache=True, fastmath=False, error_model="numpy", nogil=True, inline="always")(
        function
    )
    return cast(F, compiled)
