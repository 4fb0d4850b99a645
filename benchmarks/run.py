"""Speed of edge-adapt, as ratios to a peer in the same run where there is one: tables, and JSON in benchmarks/results/.

Everything, the whole job last (it takes minutes):      python benchmarks/run.py
One of them, with tiny sizes, to see that it works:     python benchmarks/run.py reading --quick
"""

import argparse

import bitserial
import chip_bundle
import counting
import four_bits
import job
import on_device
import peers
import programming
import published_chips
import reading
import rival
import scales
import starting
import wires

BENCHMARKS = {
    "starting": starting,
    "reading": reading,
    "peers": peers,
    "bitserial": bitserial,
    "programming": programming,
    "scales": scales,
    "wires": wires,
    "counting": counting,
    "published_chips": published_chips,
    "on_device": on_device,
    "rival": rival,
    "four_bits": four_bits,
    "chip_bundle": chip_bundle,
    "job": job,
}


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"of {', '.join(BENCHMARKS)} [all]")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that they work, measures nothing")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in BENCHMARKS]:
        parser.error(f"unknown benchmark {unknown[0]!r}; allowed: {', '.join(BENCHMARKS)}")
    for name in args.names or BENCHMARKS:
        BENCHMARKS[name].run(args.quick)


if __name__ == "__main__":
    main()
