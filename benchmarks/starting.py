"""How long it takes until anything happens: importing the package and asking for help, against an empty Python."""

import subprocess
import sys

from measure import interleaved, publish

LIMIT = "starting the interpreter; targets beyond it: 0.2 s for import edge_adapt, 0.5 s for edge-adapt --help"
CODE = {
    "empty": "pass",
    "import edge_adapt": "import edge_adapt",
    "edge-adapt --help": "import sys; sys.argv = ['edge-adapt', '--help']; from edge_adapt.cli import main; main()",
}
TARGET_SECONDS = {"import edge_adapt": 0.2, "edge-adapt --help": 0.5}


def run(quick: bool) -> None:
    """Seconds of a whole process, and beyond the empty one."""
    start = lambda code: subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
    times = interleaved({name: lambda code=code: start(code) for name, code in CODE.items()}, 0.5 if quick else 8.0)
    rows = [
        {
            "what": name,
            "seconds": seconds,
            "seconds_beyond_empty": seconds - times["empty"],
            "ratio": seconds / times["empty"],
            "target_seconds": TARGET_SECONDS.get(name),
        }
        for name, seconds in times.items()
    ]
    publish("starting", LIMIT, rows, quick)
