"""The set-up of a run in one line per subject, for the terminal and the page."""

from collections.abc import Sequence

from .records import SimulateReport
from .records.device import Device
from .records.programming import Programming
from .records.workload import Model, Pool, RawPixels, Task
from .values import Statistic, area, count, digits, duration, percent, si


def headlines(report: SimulateReport) -> list[tuple[str, str]]:
    """(subject, line) for device, model, task, pool, programming and run. No pool, no line."""
    lines = [("Device", _device(report.device)), ("Model", _model(report.model)), ("Task", _task(report.task))]
    if report.raw_pixels:
        lines.append(("Raw pixels", _raw_pixels(report.raw_pixels)))
    if report.pool is not None:
        lines.append(("Pool", _pool(report.pool)))
    seeds = f"seed{'' if len(report.seeds) == 1 else 's'} {', '.join(map(str, report.seeds))}"
    return [
        *lines,
        ("Programming", _programming(report.programming)),
        (
            "Run",
            f"{seeds}; configuration {report.config_hash}; results {report.results_digest[:16]}; {report.created}",
        ),
    ]


def _device(device: Device) -> str:
    array = device.array
    slices = f", {array.slices} bit slices per weight" if array.slices > 1 else ""
    total = device.area_square_meters.get("total")
    silicon = f", {area(total)} (estimated)" if total is not None else ""
    return (
        f"{device.title} [{device.name}]: {count(array.arrays_used)} arrays of "
        f"{array.rows} × {array.columns}{slices}{silicon}"
    )


def _model(model: Model) -> str:
    return (
        f"{model.name}: {count(model.parameters)} parameters, {count(model.weights_in_cells)} weights "
        f"in cells, {model.blocks} blocks of width {model.hidden_size}"
    )


def _task(task: Task) -> str:
    examples = f"{count(task.test_examples)} test examples in each run, by {task.metric}"
    return f"{task.name} ({', '.join(task.labels)}): {examples}; {task.source}"


def _raw_pixels(found: Sequence[RawPixels]) -> str:
    """Accuracy of the regression on pixels for each number of shots, mean over the seeds."""
    parts = []
    for shots in dict.fromkeys(record.shots for record in found):
        shares = [record.accuracy for record in found if record.shots == shots]
        parts.append(f"{percent(Statistic.of(shares))} % with {shots} shots")
    return f"logistic regression on the pixels, no model: {', '.join(parts)}; measured"


def _pool(pool: Pool) -> str:
    modules = pool.modules
    ranks = sorted({module.rank for module in modules})
    tasks = ", ".join(dict.fromkeys(module.task or "task unknown" for module in modules))
    rank = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
    weights = count(pool.weights_in_cells)
    return f"{pool.path}: {len(modules)} modules of {rank} ({tasks}), {weights} weights in cells"


def _programming(programming: Programming) -> str:
    cells, failed = programming.cells, programming.failed_cells
    text = (
        f"{count(cells)} cells once, {si(programming.energy_joules, 'J')}, {duration(programming.time_seconds)} "
        f"({programming.label})"
    )
    if programming.pulses_mean is not None:
        text += f"; {digits(programming.pulses_mean)} pulses per cell"
        if programming.pulses_p95 is not None:
            text += f", 95 % within {digits(programming.pulses_p95)}"
    if cells:
        text += f"; {count(failed)} cells out of tolerance ({digits(100 * failed / cells, 2)} %)"
    if programming.weight_error_relative is not None:
        text += f"; weight error {digits(100 * programming.weight_error_relative)} % in the mean"
        if programming.weight_error_rms_relative is not None:
            text += f", {digits(100 * programming.weight_error_rms_relative)} % RMS"
    return text
