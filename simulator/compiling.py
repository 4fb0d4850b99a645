"""The kernels of the simulator are compiled once per installation, in a process of its own.

Numba compiles a kernel when it is first called and keeps it in files (beside the sources, or in NUMBA_CACHE_DIR). A
process that compiled its kernels has another history of memory, threads and time than one that read them from files,
and two processes that compile side by side write the same files. So `prepare` has a child compile what a chip's reads
and writes need, under a lock: afterwards every process reads the same files, in the first run after an installation as
in all others. Who calls the simulator as a library may do without; then the first call compiles.
"""

import dataclasses
import hashlib
import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..devices import Chip
from ..errors import EdgeAdaptError

log = logging.getLogger(__name__)

MESSAGE = "compiling the kernels of the simulator, once per installation: this takes about half a minute"


@lru_cache(maxsize=1)
def announce() -> None:
    """Log a warning, in the first call of a process, if the simulator's largest kernels have yet to be compiled."""
    if not compiled(_largest()):
        log.warning(MESSAGE)


def _largest() -> tuple[Any, ...]:
    from . import kernels, pulse_kernel, read_kernels

    return pulse_kernel.program_blocks, kernels.age_cells, read_kernels.convert_rows


def compiled(kernels: Sequence[Any]) -> bool:
    """Whether numba has files of all these kernels as their sources are now.

    What makes a file out of date differs from version to version of numba (the time of a source, or what is in it), so
    numba itself is asked, in a place that is not public: its index of a kernel is empty where it is out of date.
    """
    return all(bool(kernel._cache._cache_file._load_index()) for kernel in kernels)


def prepare(chip: Chip, fidelity: str = "fast") -> bool:
    """Have the kernels that `chip` needs compiled by a child process, unless that was done; True: it was done now.

    Of several processes that call this at once, one has it done and the others wait. Where numba's folder cannot be
    written, nothing is done: every process compiles for itself, as numba does.

    Raises:
        EdgeAdaptError: the child failed.
    """
    from filelock import FileLock

    from . import pulse_kernel

    folder = Path(str(pulse_kernel.program_blocks.stats.cache_path))
    stamp = folder / f"edge-adapt-{_key(chip, fidelity)}.compiled"

    def done() -> bool:
        return stamp.exists() and compiled(_largest())

    if done():
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "edge-adapt.lock"):
            if done():
                return False
            announce()
            _compile_in_child(chip, fidelity)
            stamp.touch()
    except OSError:
        return False
    return True


def _compile_in_child(chip: Chip, fidelity: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edge_adapt.simulator.exercise"],
        input=pickle.dumps((chip, fidelity)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise EdgeAdaptError(f"the kernels of the simulator could not be compiled: {' '.join(last) or 'no message'}")


def _key(chip: Chip, fidelity: str) -> str:
    """What decides which kernels are called, and with which types, as a short digest; a new version of numba, another
    processor or a changed source gives another.
    """
    import llvmlite.binding
    import numba
    from numba.core import config

    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(source.read_bytes())
    processor = [getattr(config, name, None) for name in ("CPU_NAME", "CPU_FEATURES")]  # what numba was told of it
    settings = (
        numba.__version__, np.__version__, processor, llvmlite.binding.get_host_cpu_name(), fidelity,
        [_kinds(part) for part in (chip.cell, chip.array, chip.periphery)],
    )  # fmt: skip
    digest.update(repr(settings).encode())
    return digest.hexdigest()[:16]


def _kinds(part: Any) -> list[Any]:
    """What of a part of a chip can decide which kernels are called: words as they are, of numbers the type and the
    sign, of tables whether they are empty.
    """
    kinds: list[Any] = []
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name in ("name", "title", "description"):
            continue
        if isinstance(value, int | float) and not isinstance(value, bool):
            kinds.append((type(value).__name__, float(np.sign(value))))
        else:
            kinds.append(value if value is None or isinstance(value, bool | str) else len(value))
    return kinds
