"""Timing that bears a busy machine: competitors take turns, medians count, and the machine is written down. And the
difference of two ways to answer the same texts, with its error.
"""

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def interleaved(
    calls: Mapping[str, Callable[[], object]], seconds: float, least: int = 3, turn: float = 0.0
) -> dict[str, float]:
    """Median seconds of each call: one round before counting, then in turn for `seconds`, at least `least` rounds.

    `turn`: how many seconds a competitor goes on before the next one gets its turn. A product library lets its threads
    wait in a loop for some ten milliseconds after a call, on cores that the next one wants; so the first third of a
    turn does not count. 0: one call each.
    """
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < least or time.perf_counter() < end:
        for name, call in calls.items():
            begun = start = time.perf_counter()
            while start < begun + turn or start == begun:
                call()
                stop = time.perf_counter()
                if start >= begun + turn / 3 or stop >= begun + turn:
                    times[name].append(stop - start)
                start = stop
        rounds += 1
    return {name: statistics.median(values) for name, values in times.items()}


def paired(draws: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """How many points more of the same texts the first way answers right than the second, and the standard error.

    draws: for each draw of training examples (answers of the first, answers of the second), one "1" (right) or "0" for
    each text. Where every draw has texts of its own, the spread of the differences over the draws holds the chance of
    the texts, too; but few draws can agree by luck, so the error is not taken to be less than what the texts alone
    give. Raises `ValueError` for answers to different texts, and for none.
    """
    each = [[int(a) - int(b) for a, b in zip(first, second, strict=True)] for first, second in draws]
    of_texts = [difference for differences in each for difference in differences]
    if not of_texts:
        raise ValueError("there are no answers to compare")
    means = [statistics.fmean(differences) for differences in each]
    from_draws = statistics.stdev(means) / len(means) ** 0.5 if len(means) > 1 else 0.0
    from_texts = statistics.pstdev(of_texts) / len(of_texts) ** 0.5
    return 100.0 * statistics.fmean(means), 100.0 * max(from_draws, from_texts)


def commit() -> str:
    """The commit that is checked out, "+" behind it where files differ from it; "" outside a clone."""
    told = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    return subprocess.run(told, capture_output=True, text=True, check=False).stdout.strip()


def machine() -> dict[str, Any]:
    """Processor, cores, load and the versions that matter."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in ("edge-adapt", "numpy", "numba", "torch")},
        "threads": {
            name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        },
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def publish(name: str, limit: str, rows: Sequence[Mapping[str, Any]], quick: bool) -> None:
    """Print the limit and the table, and write `results/NAME.json`; a quick run is only printed."""
    print(f"\n{name}\n  limit: {limit}")
    texts = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for line in texts:
        print("  " + "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        record = {"benchmark": name, "limit": limit, "machine": machine(), "rows": list(rows)}
        (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None else str(value)
