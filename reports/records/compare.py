"""`compare.json` of `edge-adapt compare`: the reports of its simulations put together."""

from .conclusions import Reference
from .kinds import Amount, Flag, Free, Integer, Integers, Text, Texts, Time, Words
from .programming import Programming, Share
from .results import Result
from .spec import as_in, record, says
from .workload import Model, Pool, Task

COMPARE_SCHEMA = "edge-adapt/compare/1"


@record
class _GivenDevice:
    device: Text = says("name or file as given")


@record
class _GivenTask:
    task: Text = says("name or file as given")


@record
class ComparedTask(Task, _GivenTask):
    """A task with results."""


@record
class ComparedProgramming:
    """The one-time programming of a chip: of `programming` of report.json, what is compared."""

    cells: Integer = as_in(Programming, "cells")
    pulses_mean: Amount | None = as_in(Programming, "pulses_mean")
    pulses_p95: Amount | None = as_in(Programming, "pulses_p95")
    failed_cells: Integer = as_in(Programming, "failed_cells")
    energy_joules: Amount | None = as_in(Programming, "energy_joules")
    time_seconds: Amount | None = as_in(Programming, "time_seconds")
    weight_error_relative: Amount | None = as_in(Programming, "weight_error_relative")
    backbone: Share = as_in(Programming, "backbone")
    pool: Share | None = as_in(Programming, "pool")
    label: Text = as_in(Programming, "label")


@record
class ComparedDevice(_GivenDevice):
    """A chip with results."""

    title: Text = says("as `device.title` of report.json")
    cell: Text = says("as `device.cell` of report.json")
    periphery: Text = says("as `device.periphery` of report.json")
    technology: Text = says("as `device.technology` of report.json")
    arrays_used: Integer = says("arrays that hold backbone and pool", "1", "counted")
    area_square_meters: Amount | None = says("silicon area", "m²", "estimated")
    unknown: Texts = says("numbers that no source gives, each with what was done about it")
    programming: ComparedProgramming = says("the one-time programming of backbone and pool")


@record
class ComparedCell(_GivenTask, _GivenDevice):
    """One simulation."""

    status: Text = says("how it ended", choices=("done", "failed"))
    message: Text = says("why it failed; empty when it is done")
    seconds: Amount = says("wall time of this simulation", "s", "measured")
    kept: Flag = says("true when an earlier call had finished it with the same inputs")
    changed: Texts = says("what has changed since an earlier call had finished it, where it ran again")
    config_hash: Text = says("`config_hash` of its report")
    created: Time | None = says("when it ended; null when it failed")


@record
class ComparedResult(Result, _GivenTask, _GivenDevice):
    """A record of one of the simulations."""


@record
class LeftOut:
    """A method of `all` that does not fit the model."""

    method: Text = says("method")
    placement: Text = says("placement")
    message: Text = says("why")


@record
class CompareFinding:
    """A sentence that follows from the records."""

    topic: Text = says("what it is about")
    text: Text = says("the sentence")


@record
class Compared:
    """`compare.json` without its findings."""

    schema: Text = says("name and version of this schema", choices=(COMPARE_SCHEMA,))
    created: Time = says("when the comparison was put together")
    command: Text = says("the command line that gives it again")
    config: Free = says("every option with its value; `methods` name each method and placement that ran")
    config_hash: Text = says("hash of `config`: equal hash, equal comparison")
    versions: Words = says("package name to version")
    seeds: Integers = says("seeds of the runs", at_least=1)
    model: Model | None = says("the backbone, as `model` of report.json; null when every simulation failed")
    pool: Pool | None = says("the pool, as `pool` of report.json; null without one")
    tasks: list[ComparedTask] = says("the tasks with results; beside `task`, the fields of `task` of report.json")
    devices: list[ComparedDevice] = says("the chips with results")
    cells: list[ComparedCell] = says("one simulation for each device and task", at_least=1)
    results: list[ComparedResult] = says(
        "one record per device × task × method × placement × seed; beside `device` and `task`, all fields of "
        "`results[]` of report.json"
    )
    left_out: list[LeftOut] = says("methods of `all` that do not fit the model")
    messages: Texts = says("what the reader should know, each with the devices it holds for where not for all")
    references: list[Reference] = says("papers the numbers come from, as `references` of report.json")


@record
class CompareReport(Compared):
    """`compare.json`."""

    findings: list[CompareFinding] = says(
        "what follows, in sentences computed from the records: which method wins under which energy budget on each "
        "device, the cheapest device, drift, lifetime, programming, failures"
    )
