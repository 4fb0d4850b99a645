"""The fields of `report.json` (schema `edge-adapt/simulate/1`) as data: path, kind, unit, meaning, label.

A path is dotted; `[]` steps into every object of a list. The kinds are checked in `schema.py`, and the table in
`docs/report-schema.md` is made from this list.
"""

from dataclasses import dataclass

SCHEMA = "edge-adapt/simulate/1"
LABELS = ("measured", "simulated", "estimated")

#: kind -> what the value must be, in words (used in messages and in the documentation)
KINDS = {
    "text": "a text",
    "time": "a time in ISO 8601",
    "integer": "a whole number, 0 or more",
    "number": "a finite number",
    "amount": "a finite number, 0 or more",
    "fraction": "a number from 0 to 1",
    "object": "an object",
    "list": "a list of objects",
    "texts": "a list of texts",
    "integers": "a list of whole numbers, 0 or more",
    "grid": "a rectangular list of lists of finite numbers, at most 64 x 64",
    "amounts": "an object whose values are finite numbers, 0 or more, or null",
    "words": "an object whose values are texts",
    "free": "an object of any content",
}


@dataclass(frozen=True)
class Field:
    """One field of the report.

    `label` says how the value comes about: `given` (an option or a fact of the input), `counted` (exact), `simulated`,
    `estimated`, or `record` (the `label` field of the same record says it).
    """

    path: str
    kind: str
    meaning: str
    unit: str = ""
    label: str = "given"
    nullable: bool = False
    choices: tuple[str, ...] = ()
    at_least: int = 0  # fewest entries of a list


def _outcome(name: str, meaning: str) -> Field:
    return Field(f"results[].{name}", "fraction", meaning, "1", "record", nullable=True)


def _cost(name: str, kind: str, unit: str, meaning: str) -> Field:
    return Field(f"results[].{name}", kind, meaning, unit, "record", nullable=True)


HEADER = (
    Field("schema", "text", "name and version of this schema", choices=(SCHEMA,)),
    Field("created", "time", "when the run ended"),
    Field("command", "text", "the command line that gives this report again"),
    Field("config", "free", "every option of the run with its value"),
    Field("config_hash", "text", "hash of `config`: equal hash, equal experiment"),
    Field("versions", "words", "package name to version"),
    Field("seeds", "integers", "seeds of the runs", at_least=1),
    Field("messages", "texts", "what the reader should know about this run: fallbacks, samples, doubts"),
)

DEVICE = (
    Field("device", "object", "the simulated chip"),
    Field("device.name", "text", "preset name or file"),
    Field("device.title", "text", "name in words"),
    Field("device.cell", "text", "cell preset"),
    Field("device.periphery", "text", "periphery preset"),
    Field("device.technology", "text", "memory technology"),
    Field("device.array", "object", "one crossbar array and how many are used"),
    Field("device.array.rows", "integer", "word lines of an array", "1"),
    Field("device.array.columns", "integer", "bit lines of an array", "1"),
    Field("device.array.slices", "integer", "bit slices per weight", "1"),
    Field("device.array.arrays_used", "integer", "arrays that hold the backbone and the pool", "1", "counted"),
    Field(
        "device.area_square_meters",
        "amounts",
        "silicon area by part, with `total`; null where the sources give none",
        "m²",
        "estimated",
    ),
    Field("device.costs", "list", "what one event of each kind costs; with event counts, every total follows"),
    Field("device.costs[].quantity", "text", "what is added up", choices=("energy", "time", "area")),
    Field("device.costs[].component", "text", "the component it belongs to"),
    Field("device.costs[].event", "text", "the event in words"),
    Field("device.costs[].counts", "texts", "event counts that add up to its number; empty where the tally gives it"),
    Field("device.costs[].tally", "text", "event count with its joules, added up event by event; may be empty"),
    Field(
        "device.costs[].value",
        "amount",
        "of one event, in `unit`; null where the tally decides, or where no source knows it (counted as 0)",
        nullable=True,
    ),
    Field("device.costs[].unit", "text", "unit of `value`"),
    Field("device.costs[].formula", "text", "how `value` follows from `numbers`"),
    Field("device.costs[].part", "text", "whether it belongs to writing cells", choices=("write", "use")),
    Field("device.costs[].numbers", "list", "the numbers of the chip file behind `value`"),
    Field("device.costs[].numbers[].key", "text", "key in the device file"),
    Field("device.costs[].numbers[].text", "text", "as written there"),
    Field("device.costs[].numbers[].source", "text", "key of its reference; null for an unknown one", nullable=True),
    Field("device.costs[].numbers[].status", "text", "read, secondary, derived, unverified, override, unknown ..."),
    Field("device.costs[].numbers[].note", "text", "how it was read or derived; may be empty"),
    Field("device.unknown", "texts", "numbers that no source gives, each with what was done about it"),
)

WORKLOAD = (
    Field("model", "object", "the backbone"),
    Field("model.name", "text", "name or folder"),
    Field("model.parameters", "integer", "parameters of the whole model", "1", "counted"),
    Field("model.weights_in_cells", "integer", "backbone weights that sit in cells", "1", "counted"),
    Field("model.hidden_size", "integer", "width", "1"),
    Field("model.blocks", "integer", "transformer blocks", "1"),
    Field("task", "object", "the unseen task"),
    Field("task.name", "text", "name or file"),
    Field("task.labels", "texts", "classes", at_least=1),
    Field("task.train_examples", "integer", "examples that the shots are drawn from", "1", "counted"),
    Field("task.test_examples", "integer", "examples of every accuracy below", "1", "counted"),
    Field("task.source", "text", "where the examples come from"),
    Field("task.metric", "text", "what every accuracy below is", choices=("accuracy", "macro-F1", "entity-F1")),
    Field("raw_pixels", "list", "a logistic regression on the pixels of the same examples; empty for texts"),
    Field("raw_pixels[].shots", "integer", "labelled examples", "1"),
    Field("raw_pixels[].seed", "integer", "seed of the draw of examples"),
    Field("raw_pixels[].accuracy", "fraction", "test accuracy, no model used", "1", "measured"),
    Field("pool", "object", "the frozen LoRA pool; null when no method of the run uses one", nullable=True),
    Field("pool.path", "text", "name or folder"),
    Field("pool.modules", "list", "the adapters of the pool"),
    Field("pool.modules[].name", "text", "adapter name"),
    Field("pool.modules[].task", "text", "task the adapter was trained on; null = unknown", nullable=True),
    Field("pool.modules[].rank", "integer", "rank of the adapter", "1"),
    Field("pool.weights_in_cells", "integer", "pool weights that sit in cells", "1", "counted"),
)

_SHARE = (
    ("cells", "integer", "1", "cells programmed"),
    ("energy_joules", "amount", "J", "write and verify energy"),
    ("time_seconds", "amount", "s", "time with the chip's write parallelism"),
)

PROGRAMMING = (
    Field("programming", "object", "the one-time programming of backbone and pool"),
    Field("programming.cells", "integer", "cells programmed", "1", "counted"),
    Field("programming.pulses_mean", "amount", "pulses per cell, mean", "1", "simulated", nullable=True),
    Field("programming.pulses_p95", "amount", "pulses per cell, 95th percentile", "1", "simulated", nullable=True),
    Field("programming.failed_cells", "integer", "cells out of tolerance after the last pulse", "1", "simulated"),
    Field("programming.energy_joules", "amount", "write and verify energy", "J", "simulated", nullable=True),
    Field("programming.time_seconds", "amount", "time", "s", "simulated", nullable=True),
    Field(
        "programming.weight_error_relative",
        "amount",
        "mean |programmed − wanted| over mean |wanted| of the weights",
        "1",
        "simulated",
        nullable=True,
    ),
    Field("programming.pulses_histogram", "integers", "cells that took k pulses, k = 0, 1, …", "1", "simulated"),
    Field("programming.backbone", "object", "the backbone's share"),
    *(Field(f"programming.backbone.{n}", k, m, u, "simulated", nullable=True) for n, k, u, m in _SHARE),
    Field("programming.pool", "object", "the pool's share; null without a pool", nullable=True),
    *(Field(f"programming.pool.{n}", k, m, u, "simulated", nullable=True) for n, k, u, m in _SHARE),
    Field("programming.event_counts", "amounts", "what happened, by kind of event", "1", "simulated"),
    Field(
        "programming.write_read_ratio",
        "amounts",
        "energy of writing over energy of reading: `cell_pulse` (a mean pulse over a read of the cell), "
        "`cell_program_verify` (programming a cell over reading it), `array_with_converters` (programming all over "
        "reading all, converters included)",
        "1",
        "simulated",
    ),
    Field("programming.label", "text", "how the figures of this object come about", choices=LABELS),
    Field("conductance_map", "object", "one tile, as a picture", nullable=True),
    Field("conductance_map.tensor", "text", "the matrix the tile belongs to"),
    Field(
        "conductance_map.target_siemens",
        "grid",
        "conductance wanted, rows × columns; the two cells of a pair are neighbours",
        "S",
        "counted",
    ),
    Field("conductance_map.programmed_siemens", "grid", "conductance after programming", "S", "simulated"),
)

RESULTS = (
    Field("results", "list", "one record per method × placement × shots × seed", at_least=1),
    Field("results[].method", "text", "adaptation method"),
    Field("results[].placement", "text", "where its trained matrices live"),
    Field("results[].optimiser", "text", "what trained it: adamw, sgd or mezo (forward passes only)"),
    Field("results[].forward_pairs", "integer", "random directions gone along; 0 with gradients", "1", "counted"),
    Field("results[].forward_passes", "integer", "passes of batches for that: 2 a pair, where plain", "1", "counted"),
    Field(
        "results[].backward_need",
        "text",
        "how far gradients travel; NONE also where the optimiser needs none",
        choices=("NONE", "SIDE", "THROUGH", "FULL"),
    ),
    Field("results[].shots", "integer", "labelled examples, training and validation together", "1"),
    Field("results[].seed", "integer", "seed of the draw of examples, of training and of the noise"),
    Field("results[].trained_parameters", "integer", "numbers the method trains, without the head", "1", "counted"),
    Field("results[].head_parameters", "integer", "numbers of the classifier head", "1", "counted"),
    _cost("cells_written", "integer", "1", "cell writes of one adaptation (a cell written n times counts n)"),
    _cost("initial_cells_written", "integer", "1", "of these, for the initial values, before the first step"),
    Field("results[].cells_in_placement", "integer", "cells the trained matrices occupy", "1", "counted"),
    _outcome("accuracy_exact", "test accuracy, adapted and read with exact weights"),
    _outcome("accuracy_exact_before", "test accuracy with exact weights before adapting"),
    _outcome("accuracy_chip_before", "test accuracy on the chip as programmed, before adapting"),
    _outcome("accuracy_chip", "test accuracy on the chip after adapting with the chip in the loop"),
    _outcome("accuracy_drifted", "the same 30 days later, nothing done; null without drift data"),
    _outcome("accuracy_readapted", "the same after adapting again on the drifted chip"),
    Field("results[].drift", "list", "test accuracy on the chip at ages after programming"),
    Field("results[].drift[].age_seconds", "amount", "age", "s"),
    Field("results[].drift[].accuracy", "fraction", "test accuracy at this age", "1", "record", nullable=True),
    _outcome("validation_accuracy_exact", "accuracy on the held-back shots with exact weights"),
    _cost("write_energy_joules", "amount", "J", "energy of the cell writes of one adaptation"),
    _cost(
        "initial_write_energy_joules",
        "amount",
        "J",
        "of it, for the initial values of matrices that are then rewritten at every step; 0 where there are none",
    ),
    _cost("write_time_seconds", "amount", "s", "time of these writes"),
    _cost("adaptation_energy_joules", "amount", "J", "energy of one adaptation: reads, digital work and writes"),
    _cost("adaptation_time_seconds", "amount", "s", "time of one adaptation"),
    _cost("adaptation_energy_by_component_joules", "amounts", "J", "the same by component; adds up to it"),
    _cost("adaptation_time_by_component_seconds", "amounts", "s", "time by component; parts may overlap"),
    _cost("adaptation_event_counts", "amounts", "1", "what happened in one adaptation, by kind of event"),
    _cost("readaptation_energy_joules", "amount", "J", "energy of adapting again on the drifted chip"),
    _cost("readaptation_time_seconds", "amount", "s", "time of adapting again"),
    _cost("readaptation_event_counts", "amounts", "1", "what happened when adapting again, by kind of event"),
    _cost("readaptation_cells_written", "integer", "1", "cell writes of adapting again"),
    _cost(
        "compensation_energy_joules",
        "amount",
        "J",
        "energy of finding the factors of drift compensation once, at the last age, for every matrix on the chip; null "
        "where the chip has none",
    ),
    _cost("compensation_time_seconds", "amount", "s", "time of it"),
    _cost("compensation_event_counts", "amounts", "1", "what happened for it, by kind of event"),
    Field(
        "results[].training_memory_bytes",
        "amount",
        "most memory of one adaptation beside the frozen weights: trained state, the optimiser's numbers, gradients, "
        "and what the matrices put out for the longest batch in 16 bits, or the stored features where only a head is "
        "trained",
        "B",
        "estimated",
        nullable=True,
    ),
    _cost("inference_energy_joules", "amount", "J", "energy of one example"),
    _cost("inference_time_seconds", "amount", "s", "time of one example, every layer and token after the other"),
    _cost(
        "inference_interval_seconds",
        "amount",
        "s",
        "time from one example to the next when every layer works on an example of its own (pipelined)",
    ),
    _cost("inference_energy_by_component_joules", "amounts", "J", "the same by component; adds up to it"),
    _cost("inference_event_counts", "amounts", "1", "what happened for one example, by kind of event"),
    _cost(
        "endurance_share_per_task",
        "amount",
        "1",
        "share of the cells' rated writes one adaptation uses; null = unknown",
    ),
    _cost(
        "tasks_until_worn_out", "amount", "1", "adaptations until the rated writes are used up; null = no limit known"
    ),
    Field("results[].label", "text", "how the figures of this record come about", choices=LABELS),
    Field("results[].note", "text", "what was sampled or left out; may be empty"),
    Field("results[].train_steps", "integer", "optimiser steps", "1", "counted"),
    Field("results[].train_tokens", "integer", "tokens of all forward passes of training", "1", "counted"),
)

CONCLUSIONS = (
    Field("break_even", "object", "pool programming against rewriting; null without a pool", nullable=True),
    Field("break_even.pool_programming_energy_joules", "amount", "paid once", "J", "simulated", nullable=True),
    Field("break_even.versus", "list", "the methods that write cells"),
    Field("break_even.versus[].method", "text", "method"),
    Field("break_even.versus[].placement", "text", "placement"),
    Field(
        "break_even.versus[].tasks",
        "integer",
        "tasks, rounded up, after which the pool has cost less; null = never",
        "1",
        "simulated",
        nullable=True,
    ),
    Field(
        "break_even.versus[].steps",
        "integer",
        "the same in optimiser steps of one adaptation, of which the initial write comes first (0: it alone costs "
        "more than the pool); null = never, or no writes at steps",
        "1",
        "simulated",
        nullable=True,
    ),
    Field(
        "break_even.versus[].write_energy_joules_per_task",
        "amount",
        "energy of the rewriting of one task, mean over its records",
        "J",
        "simulated",
        nullable=True,
    ),
    Field(
        "break_even.versus[].write_energy_joules_per_step",
        "amount",
        "of one optimiser step, without the initial write; null without writes at steps",
        "J",
        "simulated",
        nullable=True,
    ),
    Field(
        "break_even.versus[].initial_write_energy_joules",
        "amount",
        "of it, for the initial values, before the first step",
        "J",
        "simulated",
        nullable=True,
    ),
    Field("break_even.versus[].note", "text", "remark; may be empty"),
    Field("pool_fit", "object", "does the pool suit the task? null without a pool", nullable=True),
    Field("pool_fit.verdict", "text", "judged on validation examples", choices=("fits", "does not fit", "unclear")),
    Field(
        "pool_fit.gap_points",
        "number",
        "accuracy gap that the verdict rests on",
        "percentage points",
        "simulated",
        nullable=True,
    ),
    Field("pool_fit.standard_error_points", "amount", "of this gap", "percentage points", "simulated", nullable=True),
    Field("pool_fit.validation_examples", "integer", "answers the verdict rests on", "1", "counted"),
    Field("pool_fit.against", "text", "method the pool is compared with; null when not judged", nullable=True),
    Field("pool_fit.text", "text", "the verdict in a sentence"),
    Field("references", "list", "papers the numbers come from"),
    Field("references[].key", "text", "citation key"),
    Field("references[].citation", "text", "authors, title, venue, year"),
    Field("references[].doi", "text", "DOI, arXiv number or address", nullable=True),
    Field("references[].used_for", "texts", "constants and equations taken from it"),
)

FIELDS: tuple[Field, ...] = (*HEADER, *DEVICE, *WORKLOAD, *PROGRAMMING, *RESULTS, *CONCLUSIONS)
