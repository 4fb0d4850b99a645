"""`report.json` of `edge-adapt count`: from shapes alone."""

from .conclusions import Reference
from .device import Device
from .kinds import Amount, Amounts, Fraction, Free, Integer, Text, Texts, Time, Words
from .programming import Programming, Share
from .results import Result
from .simulate import SimulateReport
from .spec import as_in, record, says
from .workload import Model

COUNT_SCHEMA = "edge-adapt/count/1"


@record
class CountedModel:
    """The model, of which the shapes are known."""

    name: Text = says("name or file of the shape")
    title: Text = says("name in words")
    weights_in_cells: Integer = as_in(Model, "weights_in_cells")
    hidden_size: Integer = as_in(Model, "hidden_size")
    blocks: Integer = as_in(Model, "blocks")
    matrices: Integer = says("matrices in cells", "1", "counted")


@record
class CountedProgramming:
    """The one-time programming of the backbone and of what else is programmed once."""

    cells: Integer = as_in(Programming, "cells")
    pulses_mean: Amount = says("pulses per cell, mean of the sample", "1", "estimated")
    pulses_mean_standard_error: Amount = says("its standard error", "1", "estimated")
    failed_share: Fraction = says("share of the sample out of tolerance after the last pulse", "1", "estimated")
    energy_joules: Amount = as_in(Programming, "energy_joules", label="estimated")
    time_seconds: Amount = as_in(Programming, "time_seconds", label="estimated")
    event_counts: Amounts = as_in(Programming, "event_counts", label="estimated")
    backbone: Share = as_in(Programming, "backbone")
    pool: Share | None = says("of a pool, or of other matrices programmed once; null without any")
    write_read_ratio: Amounts = as_in(Programming, "write_read_ratio", label="estimated")
    sample_cells: Integer = says("cells of the programmed sample", "1")
    label: Text = as_in(Programming, "label")


@record
class CountedResult:
    """What one adaptation and one answer cost by a method in a placement."""

    method: Text = as_in(Result, "method")
    placement: Text = as_in(Result, "placement")
    backward_need: Text = as_in(Result, "backward_need")
    trained_parameters: Integer = as_in(Result, "trained_parameters")
    head_parameters: Integer = as_in(Result, "head_parameters")
    cells_written: Integer = as_in(Result, "cells_written")
    cells_in_placement: Integer = as_in(Result, "cells_in_placement")
    write_energy_joules: Amount = as_in(Result, "write_energy_joules")
    write_time_seconds: Amount = as_in(Result, "write_time_seconds")
    adaptation_energy_joules: Amount = as_in(Result, "adaptation_energy_joules")
    adaptation_time_seconds: Amount = as_in(Result, "adaptation_time_seconds")
    adaptation_time_sequential_seconds: Amount = as_in(Result, "adaptation_time_sequential_seconds")
    adaptation_energy_by_component_joules: Amounts = as_in(Result, "adaptation_energy_by_component_joules")
    adaptation_time_by_component_seconds: Amounts = as_in(Result, "adaptation_time_by_component_seconds")
    adaptation_event_counts: Amounts = as_in(Result, "adaptation_event_counts")
    compensation_energy_joules: Amount | None = as_in(Result, "compensation_energy_joules")
    compensation_time_seconds: Amount | None = as_in(Result, "compensation_time_seconds")
    compensation_event_counts: Amounts | None = as_in(Result, "compensation_event_counts")
    own_programming_energy_joules: Amount | None = as_in(Result, "own_programming_energy_joules")
    own_programming_time_seconds: Amount | None = as_in(Result, "own_programming_time_seconds")
    own_programming_event_counts: Amounts | None = as_in(Result, "own_programming_event_counts")
    inference_energy_joules: Amount = as_in(Result, "inference_energy_joules")
    inference_time_seconds: Amount = as_in(Result, "inference_time_seconds")
    inference_time_sequential_seconds: Amount = as_in(Result, "inference_time_sequential_seconds")
    inference_interval_seconds: Amount = as_in(Result, "inference_interval_seconds")
    inference_energy_by_component_joules: Amounts = as_in(Result, "inference_energy_by_component_joules")
    inference_event_counts: Amounts = as_in(Result, "inference_event_counts")
    endurance_share_per_task: Amount | None = as_in(Result, "endurance_share_per_task")
    tasks_until_worn_out: Amount | None = as_in(Result, "tasks_until_worn_out")
    train_steps: Integer = as_in(Result, "train_steps")
    label: Text = as_in(Result, "label")
    note: Text = as_in(Result, "note")


@record
class CountReport:
    """`report.json` of `edge-adapt count`."""

    schema: Text = says("name and version of this schema", choices=(COUNT_SCHEMA,))
    created: Time = says("when it was counted")
    command: Text = as_in(SimulateReport, "command")
    config: Free = says("every option with its value")
    config_hash: Text = as_in(SimulateReport, "config_hash")
    versions: Words = as_in(SimulateReport, "versions")
    device: Device = says("the chip")
    model: CountedModel = says("the shapes that were counted")
    programming: CountedProgramming = says("the one-time programming of the backbone and of what else is written once")
    results: list[CountedResult] = says("one record per method × placement", at_least=1)
    references: list[Reference] = as_in(SimulateReport, "references")
    messages: Texts = says("what the reader should know: what is counted, what is estimated, what is left out")
