"""The whole job in a process of its own: wall time, processor time and peak memory.

Model, texts and pool must be there.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import publish

LIMIT = (
    "targets on two cores: the default job in 180 s and 3 GB, --shots 32 in 60 s; "
    "most of it is forward and backward passes"
)
JOBS: dict[str, tuple[list[str], float]] = {
    "simulate --device reram": ([], 180.0),
    "simulate --device reram --shots 32 --seeds 1": (["--shots", "32", "--seeds", "1"], 60.0),
}
QUICK = {
    "simulate --model bert-tiny --method frozen probe --shots 8": (
        ["--model", "bert-tiny", "--method", "frozen", "probe", "--shots", "8", "--test-examples", "20"],
        60.0,
    )
}


def run(quick: bool) -> None:
    """Each job once: it is long, and its own parts were measured with repetitions."""
    rows = []
    for name, (words, target) in (QUICK if quick else JOBS).items():
        seconds, processor_seconds, peak_bytes = measured(words)
        rows.append(
            {
                "what": name,
                "seconds": seconds,
                "target_seconds": target,
                "processor_seconds": processor_seconds,
                "peak_gigabytes": 1e-9 * peak_bytes,
                "target_gigabytes": 3.0,
            }
        )
    publish("job", LIMIT, rows, quick)


def measured(words: list[str]) -> tuple[float, float, int]:
    """(wall seconds, processor seconds, peak resident bytes) of one `edge-adapt simulate`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "edge_adapt", "simulate", "--device", "reram", *words]
        start = time.perf_counter()
        with (Path(folder) / "out").open("w") as out:
            child = subprocess.Popen([*command, "--out", f"{folder}/report"], stdout=out)
            _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{' '.join(command)} failed with exit code {child.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
