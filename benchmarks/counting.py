"""How long and how much memory `edge-adapt count` takes, for the largest shape and small ones, as a user runs it."""

import json
import os
import subprocess
import sys
import time

from measure import publish

LIMIT = "starting Python, numba and pint, and programming the sample; targets: 10 s and 500 MB"
MODELS = ("bert-tiny", "minilm", "flan-t5-large", "llama-3-70b")


def run(quick: bool) -> None:
    """Best of several whole processes: seconds, peak memory, and what was counted."""
    rows = []
    for model in MODELS[:1] if quick else MODELS:
        seconds, peak, report = min(counted(model) for _ in range(1 if quick else 3))
        found = json.loads(report)
        rows.append(
            {
                "model": model,
                "matrices": found["model"]["matrices"],
                "weights": found["model"]["weights_in_cells"],
                "arrays": found["device"]["array"]["arrays_used"],
                "seconds": seconds,
                "peak_megabytes": peak,
            }
        )
    publish("counting", LIMIT, rows, quick)


def counted(model: str) -> tuple[float, float, str]:
    """(seconds, peak megabytes, report) of one process."""
    words = [sys.executable, "-m", "edge_adapt", "count", "--model", model, "--device", "reram", "--json"]
    start = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    report = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(words)} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024, report
