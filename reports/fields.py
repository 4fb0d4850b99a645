"""The fields of `report.json` (schema `edge-adapt/simulate/2`) as data: path, kind, unit, meaning, label.

A path is dotted; `[]` steps into every object of a list. The kinds are checked in `schema.py`, and the table in
`docs/report-schema.md` is made from this list.
"""

from dataclasses import dataclass

SCHEMA = "edge-adapt/simulate/2"
LABELS = ("measured", "simulated", "estimated")
OUTCOMES = ("exact", "chip", "drifted", "readapted")
"""What is tested: with exact weights, on the chip, on the chip at the last age, and there after adapting again."""

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
    "flag": "true or false",
    "bits": "a text of the digits 0 and 1",
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
    Field("config", "free", "every option as it ran: methods with their placements, defaults filled in"),
    Field("config_hash", "text", "hash of the options: equal hash, equal experiment"),
    Field(
        "results_digest",
        "text",
        "SHA-256 of `results`, `test_sets`, `raw_pixels` and the figures of programming, floats to 9 digits: equal "
        "digest, equal results; nothing that depends on the clock is in it",
    ),
    Field("versions", "words", "package name to version"),
    Field("environment", "object", "where and how the run was made; no figure of `results` depends on it by design"),
    Field("environment.processor", "text", "name of the processor"),
    Field("environment.cores", "integer", "cores that this process may use", "1"),
    Field("environment.operating_system", "text", "name and version"),
    Field("environment.python", "text", "version of Python"),
    Field("environment.commit", "text", "commit of the package's checkout; null outside of one", nullable=True),
    Field("environment.product_arithmetic", "text", "how the sums of reads are multiplied on this processor"),
    Field("environment.wall_seconds", "amount", "time of the run by the clock", "s", "measured"),
    Field("environment.processes", "integer", "processes that shared the work", "1"),
    Field("inputs", "object", "SHA-256 of what went in"),
    Field("inputs.chip_sha256", "text", "of every number of the chip, its cell and its periphery, settings applied"),
    Field("inputs.model_sha256", "text", "of the names, shapes and values of the model's weights"),
    Field("inputs.pool_sha256", "text", "the same of the pool; null without one", nullable=True),
    Field("inputs.task_sha256", "text", "of all texts, or images, with their labels, train and test"),
    Field("seeds", "integers", "seeds of the runs", at_least=1),
    Field("ages_seconds", "integers", "ages of the chip at which it was tested, rising", "s", at_least=1),
    Field("test_sets", "list", "what each run was tested on", at_least=1),
    Field("test_sets[].seed", "integer", "seed of the run"),
    Field(
        "test_sets[].examples", "integers", "places in the task's pool of test examples (`task.test_pool`)", at_least=1
    ),
    Field("test_sets[].sha256", "text", "of these texts, or images, with their labels, in this order"),
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
    Field("task.test_examples", "integer", "test examples of a run", "1", "counted"),
    Field("task.test_pool", "integer", "test examples that those of each run are taken from", "1", "counted"),
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
    Field("programming", "object", "the one-time programming of backbone and pool, on the chip of the first run"),
    Field("programming.chip_seed", "integer", "which chip that is"),
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
    Field(
        "programming.weight_error_rms_relative",
        "amount",
        "root mean square of programmed − wanted over that of wanted",
        "1",
        "simulated",
        nullable=True,
    ),
    Field("programming.chips", "list", "every chip of the report; chips differ in variation and faults", at_least=1),
    Field("programming.chips[].chip_seed", "integer", "which chip"),
    Field("programming.chips[].seeds", "integers", "seeds of the runs on it", at_least=1),
    Field("programming.chips[].weight_error_relative", "amount", "as above, of this chip", "1", "simulated"),
    Field("programming.chips[].weight_error_rms_relative", "amount", "as above, of this chip", "1", "simulated"),
    Field("programming.chips[].failed_cells", "integer", "as above, of this chip", "1", "simulated"),
    Field("programming.chips[].energy_joules", "amount", "as above, of this chip", "J", "simulated"),
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
    Field("results[].chip_seed", "integer", "the chip that the run was on: its variation, faults and programming"),
    Field(
        "results[].start",
        "text",
        "method whose answers are those of this one before its first step; null where nothing is trained",
        nullable=True,
    ),
    Field("results[].trained_parameters", "integer", "numbers the method trains, without the head", "1", "counted"),
    Field("results[].head_parameters", "integer", "numbers of the classifier head", "1", "counted"),
    _cost("cells_written", "integer", "1", "cell writes of one adaptation (a cell written n times counts n)"),
    _cost("initial_cells_written", "integer", "1", "of these, for the initial values, before the first step"),
    Field("results[].cells_in_placement", "integer", "cells the trained matrices occupy", "1", "counted"),
    _outcome("accuracy_exact", "test accuracy, adapted and read with exact weights"),
    _outcome("accuracy_exact_before", "test accuracy with exact weights before adapting"),
    _outcome("accuracy_chip_before", "test accuracy on the chip as programmed, before adapting"),
    _outcome("accuracy_chip", "test accuracy on the chip after adapting with the chip in the loop"),
    _outcome("accuracy_drifted", "the same at the last age, nothing done; null without drift data"),
    _outcome("accuracy_readapted", "the same after adapting again on the drifted chip"),
    Field("results[].drift", "list", "test accuracy on the chip at ages after programming"),
    Field("results[].drift[].age_seconds", "amount", "age", "s"),
    Field("results[].drift[].accuracy", "fraction", "test accuracy at this age", "1", "record", nullable=True),
    *(
        Field(
            f"results[].right_{name}",
            "bits",
            f"1 for each right answer behind `accuracy_{name}`, in the order of the run's test set; null where words "
            "are answered, not examples. Of macro-F1 the mean is not the score",
            "1",
            "record",
            nullable=True,
        )
        for name in OUTCOMES
    ),
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
    Field("comparisons", "list", "differences between two rows, on the same test examples, chips and draws"),
    Field("comparisons[].primary", "flag", "whether it was named before the run as what the run is to decide"),
    Field("comparisons[].shots", "integer", "labelled examples", "1"),
    Field("comparisons[].outcome", "text", "what is compared", choices=OUTCOMES),
    Field("comparisons[].method", "text", "method"),
    Field("comparisons[].placement", "text", "its placement"),
    Field("comparisons[].against_method", "text", "the other method; the same where two outcomes are compared"),
    Field("comparisons[].against_placement", "text", "its placement"),
    Field("comparisons[].against_outcome", "text", "outcome of the other; mostly the same", choices=OUTCOMES),
    Field(
        "comparisons[].difference_points",
        "number",
        "the one minus the other, mean over runs; null where a run has no value",
        "percentage points",
        "simulated",
        nullable=True,
    ),
    Field(
        "comparisons[].standard_error_points",
        "amount",
        "of the difference; see `error_of`; null where it cannot be told",
        "percentage points",
        "simulated",
        nullable=True,
    ),
    Field(
        "comparisons[].degrees_of_freedom",
        "amount",
        "of Student's t for this error",
        "1",
        "simulated",
        nullable=True,
    ),
    Field(
        "comparisons[].interval_points",
        "amount",
        "half the width of the 95 % interval: the error times the quantile of Student's t",
        "percentage points",
        "simulated",
        nullable=True,
    ),
    Field(
        "comparisons[].error_of",
        "text",
        "what the error contains: the test examples alone (one run), examples, draws and chips, or the runs alone "
        "(scores that are no mean over examples)",
        choices=("examples", "examples and runs", "runs"),
    ),
    Field("comparisons[].runs", "integer", "runs compared", "1", "counted"),
    Field("comparisons[].examples", "integer", "test examples compared, each once", "1", "counted"),
    Field(
        "comparisons[].verdict",
        "text",
        "`tie`: the difference may be none; `too few`: too few answers or runs to tell",
        choices=("better", "worse", "tie", "too few"),
    ),
    Field("pool_fit", "object", "does the pool suit the task? null without a pool", nullable=True),
    Field(
        "pool_fit.verdict",
        "text",
        "judged on labelled examples that were held out of training, never on the test set; exact weights",
        choices=("fits", "does not fit", "cannot tell", "too few answers"),
    ),
    Field(
        "pool_fit.folds", "integer", "folds of the cross-validation over all shots; 0: the held-back fifth alone", "1"
    ),
    Field("pool_fit.tests", "list", "LoRAFusion against each method without a pool, by McNemar's exact test"),
    Field("pool_fit.tests[].against", "text", "the other method"),
    Field("pool_fit.tests[].answers", "integer", "held-out answers of both", "1", "counted"),
    Field("pool_fit.tests[].only_pool_right", "integer", "answers that LoRAFusion alone got right", "1", "simulated"),
    Field("pool_fit.tests[].only_other_right", "integer", "answers that the other alone got right", "1", "simulated"),
    Field(
        "pool_fit.tests[].probability",
        "fraction",
        "of a split at least as uneven if both were as good (two-sided)",
        "1",
        "simulated",
    ),
    Field(
        "pool_fit.tests[].verdict",
        "text",
        "the outcome of this test",
        choices=("better", "worse", "cannot tell", "too few answers"),
    ),
    Field("pool_fit.text", "text", "the verdict in a sentence or two"),
    Field("references", "list", "papers the numbers come from"),
    Field("references[].key", "text", "citation key"),
    Field("references[].citation", "text", "authors, title, venue, year"),
    Field("references[].doi", "text", "DOI, arXiv number or address", nullable=True),
    Field("references[].used_for", "texts", "constants and equations taken from it"),
)

FIELDS: tuple[Field, ...] = (*HEADER, *DEVICE, *WORKLOAD, *PROGRAMMING, *RESULTS, *CONCLUSIONS)
