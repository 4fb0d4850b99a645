"""The package as a library: the jobs of the command line as functions, with the same options and the same errors.

Options have the names of the command line with `_` for `-`; `settings` is a mapping of what `--set` takes. What is
wrong raises `UsageError` (names, options, inputs) or `EdgeAdaptError` (failures), before work starts where possible.
"""

import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UsageError, require, unknown_name
from .option_types import kinds_of, value_of

if TYPE_CHECKING:
    from .reports.loaded import Report
    from .studies.progress import Progress

_NEEDED = ("torch", "numba", "transformers", "pint")


def simulate(
    device: str | Path = "reram",
    *,
    jobs: int | None = None,
    progress: bool | None = None,
    out: str | Path | None = None,
    **options: Any,
) -> "Report":
    """Adapt on a simulated chip by several methods; `edge-adapt simulate` as a function.

    Args:
        device: a shipped chip (`edge-adapt devices list`) or a YAML file.
        jobs: processes that share the work (None: what the machine has room for). Results do not depend on it.
        progress: show on stderr how far the run is (None: where stderr is a terminal; elsewhere nothing is printed).
        out: also write the report, page and figures included, as this folder.
        options: those of `edge_adapt.studies.config.SimulateConfig`: `model`, `task`, `pool`, `method` (a name or
            several), `shots` (a number or several), `seeds`, `test_examples`, `settings` and so on.

    Returns:
        a `Report`: energies in joules, times in seconds, accuracies from 0 to 1.

    Raises:
        UsageError: an unknown option or name, a value that is not allowed, an `out` that is not overwritten.
        EdgeAdaptError: a failure, such as a download without a network.
        MissingExtraError: the extra `host` is not installed.

    Example:
        `edge_adapt.simulate("pcm", method=["lorafusion", "probe"], shots=32, settings={"chip.adc.bits": 6})`
    """
    for module in (*_NEEDED, *(("matplotlib", "jinja2") if out else ())):
        require(module)
    from .reports.loaded import Report
    from .reports.store import check_destination
    from .studies.config import SimulateConfig
    from .studies.simulate import simulate as run

    checked = _checked("simulate", {"device": device, **options}, kinds_of(SimulateConfig))
    config = SimulateConfig(**checked)
    processes = _processes(jobs)
    if out is not None:
        check_destination(Path(out))
    with _shown(progress) as shown:
        report = Report(run(config, shown, _command("simulate", checked), processes))
    if out is not None:
        report.save(out)
    return report


def compare(
    devices: str | Sequence[str] = ("reram", "pcm", "fefet", "sram"),
    *,
    tasks: str | Sequence[str] = ("movie",),
    methods: str | Sequence[str] = ("all",),
    jobs: int | None = None,
    progress: bool | None = None,
    out: str | Path | None = None,
    **options: Any,
) -> "Report":
    """Every method on every device and task; `edge-adapt compare` as a function.

    Without arguments this is the whole table: every method on four chips, three runs each. It takes hours. Name one
    chip and a few methods for a small one, and give `out`, so that a stopped run goes on where it was.

    Args:
        devices, tasks, methods: one name or several.
        jobs, progress: as in `simulate`.
        out: the folder of the comparison. It keeps every finished simulation, so that a stopped run goes on where it
            was. None: nothing is kept.
        options: those of `simulate`, for every simulation.

    Returns:
        a `Report` of all records. A simulation that failed is in `data["cells"]`, with its message.

    Raises:
        UsageError, EdgeAdaptError, MissingExtraError: as `simulate`.

    Example:
        `edge_adapt.compare(["reram", "pcm"], methods=["lorafusion", "lora:DIGITAL"], out="table")`, or to try it:
        `edge_adapt.compare("reram", methods=["lorafusion", "probe"], shots=32, seeds=1, test_examples=60)`
    """
    for module in (*_NEEDED, *(("matplotlib", "jinja2") if out else ())):
        require(module)
    from .reports.compare import check_folder, with_findings
    from .reports.loaded import Report
    from .studies.compare import compare as run
    from .studies.compare_config import LISTS, CompareConfig
    from .studies.config import SimulateConfig

    kinds = kinds_of(SimulateConfig, "device", "task", "method")
    lists = {name: value_of(name, given, tuple[str, ...]) for name, given in
             zip(LISTS, (devices, tasks, methods), strict=True)}  # fmt: skip
    checked = _checked("compare", options, kinds)
    config = CompareConfig.of(lists | checked)
    processes = _processes(jobs)
    if out is not None:
        check_folder(Path(out))
    with _shown(progress) as shown, tempfile.TemporaryDirectory() as scratch:
        folder = Path(out) if out is not None else Path(scratch)
        command = _command("compare", lists | checked)
        report = Report(with_findings(run(config, folder, shown, command, processes)))
    if out is not None:
        report.save(out)
    return report


def count(device: str | Path = "reram", *, out: str | Path | None = None, **options: Any) -> "Report":
    """Energy, time, area and programming of a model from its shapes alone; `edge-adapt count` as a function.

    Args:
        device: as in `simulate`.
        out: also write `report.json` into this folder.
        options: those of `edge_adapt.studies.count_config.CountConfig`: `model` (a shape such as "llama-3-70b"),
            `method`, `examples`, `tokens`, `classes`, `rank`, `settings` and so on.

    Returns:
        a `Report`: energies in joules, times in seconds, areas in square meters.

    Raises:
        UsageError: an unknown option or name, or a value that is not allowed.
        MissingExtraError: the extra `host` is not installed.

    Example:
        `edge_adapt.count("pcm", model="llama-3-70b").data["programming"]["energy_joules"]`
    """
    for module in ("numba", "pint"):
        require(module)
    from .reports.loaded import Report
    from .reports.store import check_destination
    from .studies.count import count as run
    from .studies.count_config import CountConfig

    checked = _checked("count", {"device": device, **options}, kinds_of(CountConfig))
    config = CountConfig(**checked)
    if out is not None:
        check_destination(Path(out))
    report = Report(run(config, _command("count", checked)))
    if out is not None:
        report.save(out)
    return report


def _checked(function: str, options: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The options as their configuration takes them. Raises `UsageError` for unknown names and other types."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name not in kinds:
            raise UsageError(f"edge_adapt.{function}: {unknown_name('option', name, kinds)}")
        if value is not None:  # None is the default
            found[name] = value_of(name, value, kinds[name])
    return found


def _processes(jobs: int | None) -> int:
    from .studies.crew import default_jobs

    if jobs is not None and (not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1):
        raise UsageError(f"jobs must be a whole number, 1 or more; got {jobs!r}")
    return jobs or default_jobs()


def _command(name: str, options: Mapping[str, Any]) -> str:
    """The command line that does the same."""
    words = ["edge-adapt", name]
    for key, value in options.items():
        if key == "settings":
            words += [word for pair in value for word in ("--set", "=".join(pair))]
        else:
            words += [f"--{key.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


@contextmanager
def _shown(progress: bool | None) -> "Iterator[Progress | None]":
    if not (sys.stderr is not None and sys.stderr.isatty() if progress is None else progress):
        yield None
        return
    from .commands.progress import TerminalProgress

    with TerminalProgress("importing torch") as bar:
        yield bar
