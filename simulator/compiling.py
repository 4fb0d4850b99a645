"""Tells the user, once, that the kernels are being compiled: the first run after an installation takes longer.

Numba keeps compiled kernels in files beside their sources (or in NUMBA_CACHE_DIR); later runs read these.
"""

import inspect
import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def announce() -> None:
    """Log a warning, in the first call of a process, if the simulator's largest kernels have yet to be compiled."""
    from . import kernels, pulse_kernel, read_kernels

    if not compiled((pulse_kernel.program_blocks, kernels.age_cells, read_kernels.convert_rows)):
        log.warning("compiling the kernels of the simulator, once per installation: this takes about half a minute")


def compiled(kernels: Sequence[Any]) -> bool:
    """Whether numba has files of all these kernels that are no older than their sources."""
    for kernel in kernels:
        source = Path(inspect.getfile(kernel.py_func))
        files = Path(kernel.stats.cache_path).glob(f"{source.stem}.{kernel.py_func.__name__}-*.nbi")
        if not any(file.stat().st_mtime >= source.stat().st_mtime for file in files):
            return False
    return True
