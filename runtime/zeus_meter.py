"""Energy by zeus (You et al., NSDI 2023), where it is installed: it knows Jetson and Apple chips, and RAPL by a daemon.

`pip install edge-adapt[energy]` installs it. Graphics cards are left out: nothing here runs on them.
"""

from collections.abc import Callable
from typing import Any

WINDOW = "edge-adapt"


def begin() -> Callable[[], dict[str, float]] | str:
    """Start measuring; call the result to stop and get joules by counter. A text says why it cannot be done."""
    try:
        from zeus.monitor import ZeusMonitor
    except ImportError:
        return "zeus is not installed"
    try:
        monitor = ZeusMonitor(gpu_indices=[])
        monitor.begin_window(WINDOW, sync_execution=False)
    except Exception as error:  # it raises errors of every kind of machine
        return f"zeus cannot measure here: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    if not monitor.cpu_indices and not monitor.soc_is_present:
        return "zeus finds nothing to measure here"
    return lambda: joules(monitor.end_window(WINDOW, sync_execution=False))


def joules(measurement: Any) -> dict[str, float]:
    """Joules by counter: CPU packages, or of a system on a chip the whole, else its processors and memory."""
    found = {f"package-{number}": float(value) for number, value in (measurement.cpu_energy or {}).items()}
    chip = measurement.soc_energy
    whole = getattr(chip, "total_energy_mj", None)
    parts = {"chip": whole} if whole is not None else {
        "cpu": getattr(chip, "cpu_total_mj", None), "memory": getattr(chip, "dram_mj", None)
    }  # fmt: skip
    return found | {name: value / 1e3 for name, value in parts.items() if value is not None}
