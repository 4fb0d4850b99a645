"""The records of a report: what every method made of every draw of examples, and what it took."""

from .kinds import Amount, Amounts, Bits, Fraction, Integer, Text
from .spec import LABELS, LATE, Total, record, says

OUTCOMES = ("exact", "chip", "drifted", "readapted")
"""What is tested: with exact weights, on the chip, on the chip at the last age, and there after adapting again."""


def _right(name: str) -> str:
    return (
        f"1 for each right answer behind `accuracy_{name}`, in the order of the run's test set; null where words are "
        "answered, not examples. Of macro-F1 the mean is not the score"
    )


@record
class AgePoint:
    """Test accuracy at an age of the chip."""

    age_seconds: Amount = says("age", "s")
    accuracy: Fraction | None = says("test accuracy at this age", "1", "record")


@record
class Result:
    """One method x placement x shots x seed on the chip. What the other parts of a run find out comes in last."""

    method: Text = says("adaptation method")
    placement: Text = says("where its trained matrices live")
    objective: Text = says("what the steps of training made smaller; its options stand in `config.settings`")
    sampler: Text = says("which examples training saw, and in which order")
    optimiser: Text = says("what trained it: adamw, sgd or mezo (forward passes only)")
    hooks: Text = says("what else happened in training, by name with commas between; empty for nothing")
    forward_pairs: Integer = says(
        "random directions gone along; 0 with gradients", "1", "counted", heading="forward pairs"
    )
    forward_passes: Integer = says("passes of batches for that: 2 a pair, where plain", "1", "counted")
    backward_need: Text = says(
        "how far gradients travel; NONE also where the optimiser needs none",
        choices=("NONE", "SIDE", "THROUGH", "FULL"),
    )
    shots: Integer = says("labelled examples, training and validation together", "1")
    seed: Integer = says("seed of the draw of examples, of training and of the noise")
    chip_seed: Integer = says("the chip that the run was on: its variation, faults and programming")
    start: Text | None = says(
        "method whose answers are those of this one before its first step; null where nothing is trained"
    )
    trained_parameters: Integer = says(
        "numbers the method trains, without the head", "1", "counted", heading="trained numbers"
    )
    head_parameters: Integer = says("numbers of the classifier head", "1", "counted", heading="head")
    cells_written: Integer | None = says(
        "cell writes of one adaptation (a cell written n times counts n)", "1", "record", heading="cell writes"
    )
    initial_cells_written: Integer | None = says(
        "of these, for the initial values, before the first step", "1", "record", heading="of which first"
    )
    cells_in_placement: Integer = says("cells the trained matrices occupy", "1", "counted", heading="cells held")
    accuracy_exact_before: Fraction | None = says(
        "test accuracy with exact weights before adapting", "1", "record", heading="before, exact", default=LATE
    )
    accuracy_chip_before: Fraction | None = says(
        "test accuracy on the chip as programmed, before adapting", "1", "record", heading="before, chip", default=LATE
    )
    accuracy_exact: Fraction | None = says(
        "test accuracy, adapted and read with exact weights", "1", "record", heading="exact", default=LATE
    )
    accuracy_chip: Fraction | None = says(
        "test accuracy on the chip after adapting with the chip in the loop", "1", "record", heading="chip"
    )
    accuracy_chip_exact_gradients: Fraction | None = says(
        "the same, trained with exact gradients; null unless array.backward of the chip is analog, and where no "
        "gradient goes through cells",
        "1",
        "record",
        heading="exact gradients",
    )
    accuracy_drifted: Fraction | None = says(
        "the same at the last age, nothing done; null without drift data", "1", "record", heading="drifted"
    )
    accuracy_readapted: Fraction | None = says(
        "the same after adapting again on the drifted chip", "1", "record", heading="adapted again"
    )
    right_exact: Bits | None = says(_right("exact"), "1", "record", default=LATE)
    right_chip: Bits | None = says(_right("chip"), "1", "record")
    right_drifted: Bits | None = says(_right("drifted"), "1", "record")
    right_readapted: Bits | None = says(_right("readapted"), "1", "record")
    validation_accuracy_exact: Fraction | None = says(
        "accuracy on the held-back shots with exact weights", "1", "record", heading="validation", default=LATE
    )
    drift: list[AgePoint] = says("test accuracy on the chip at ages after programming")
    write_energy_joules: Amount | None = says(
        "energy of the cell writes of one adaptation",
        "J",
        "record",
        heading="write energy",
        total=Total("adaptation_event_counts", part="write"),
    )
    initial_write_energy_joules: Amount | None = says(
        "of it, for the initial values of matrices that are then rewritten at every step; 0 where there are none",
        "J",
        "record",
        heading="of which first",
    )
    write_time_seconds: Amount | None = says(
        "time of these writes",
        "s",
        "record",
        heading="write time",
        total=Total("adaptation_event_counts", part="write"),
    )
    adaptation_energy_joules: Amount | None = says(
        "energy of one adaptation: reads, digital work and writes",
        "J",
        "record",
        heading="adaptation energy",
        total=Total("adaptation_event_counts", components="adaptation_energy_by_component_joules"),
    )
    adaptation_time_seconds: Amount | None = says(
        "time of one adaptation, as the chip's layers.schedule has it",
        "s",
        "record",
        heading="adaptation time",
        total=Total("adaptation_event_counts"),
    )
    adaptation_time_sequential_seconds: Amount | None = says(
        "the same if nothing overlapped: every read, write and digital step after the other",
        "s",
        "record",
        heading="one after another",
        total=Total("adaptation_event_counts", sequential=True),
    )
    adaptation_energy_by_component_joules: Amounts | None = says("the same by component; adds up to it", "J", "record")
    adaptation_time_by_component_seconds: Amounts | None = says(
        "adaptation time by component: what is waited for in each; adds up to it", "s", "record"
    )
    adaptation_event_counts: Amounts | None = says("what happened in one adaptation, by kind of event", "1", "record")
    readaptation_energy_joules: Amount | None = says(
        "energy of adapting again on the drifted chip",
        "J",
        "record",
        heading="energy again",
        total=Total("readaptation_event_counts"),
    )
    readaptation_time_seconds: Amount | None = says(
        "time of adapting again", "s", "record", heading="time again", total=Total("readaptation_event_counts")
    )
    readaptation_event_counts: Amounts | None = says(
        "what happened when adapting again, by kind of event", "1", "record"
    )
    readaptation_cells_written: Integer | None = says(
        "cell writes of adapting again", "1", "record", heading="cell writes again"
    )
    compensation_energy_joules: Amount | None = says(
        "energy of finding the factors of drift compensation once, at the last age, for every matrix on "
        "the chip; null where the chip has none",
        "J",
        "record",
        total=Total("compensation_event_counts"),
    )
    compensation_time_seconds: Amount | None = says(
        "time of it", "s", "record", total=Total("compensation_event_counts")
    )
    compensation_event_counts: Amounts | None = says("what happened for it, by kind of event", "1", "record")
    own_programming_energy_joules: Amount | None = says(
        "energy of the one-time programming of matrices that the method changes before, in the place of what "
        "`programming` has for them; null where the chip is programmed with the model as it is",
        "J",
        "record",
        total=Total("own_programming_event_counts"),
    )
    own_programming_time_seconds: Amount | None = says(
        "time of it", "s", "record", total=Total("own_programming_event_counts")
    )
    own_programming_event_counts: Amounts | None = says("what happened for it, by kind of event", "1", "record")
    training_memory_bytes: Amount | None = says(
        "most memory of one adaptation beside the frozen weights: trained state, the optimiser's "
        "numbers, gradients, and what the matrices put out for the longest batch in 16 bits, or the "
        "stored features where only a head is trained",
        "B",
        "estimated",
    )
    inference_energy_joules: Amount | None = says(
        "energy of one example",
        "J",
        "record",
        heading="energy per example",
        total=Total("inference_event_counts", components="inference_energy_by_component_joules"),
    )
    inference_time_seconds: Amount | None = says(
        "time of one example, as the chip's layers.schedule has it",
        "s",
        "record",
        heading="time per example",
        total=Total("inference_event_counts"),
    )
    inference_time_sequential_seconds: Amount | None = says(
        "the same if nothing overlapped: every layer and token after the other",
        "s",
        "record",
        total=Total("inference_event_counts", sequential=True),
    )
    inference_interval_seconds: Amount | None = says(
        "time from one example to the next when every layer works on an example of its own (pipelined)", "s", "record"
    )
    inference_energy_by_component_joules: Amounts | None = says("the same by component; adds up to it", "J", "record")
    inference_event_counts: Amounts | None = says("what happened for one example, by kind of event", "1", "record")
    endurance_share_per_task: Amount | None = says(
        "share of the cells' rated writes one adaptation uses; null = unknown", "1", "record", heading="endurance used"
    )
    tasks_until_worn_out: Amount | None = says(
        "adaptations until the rated writes are used up; null = no limit known",
        "1",
        "record",
        heading="tasks until worn out",
    )
    train_steps: Integer = says("optimiser steps", "1", "counted", heading="steps")
    train_tokens: Integer = says("tokens of all forward passes of training", "1", "counted", heading="tokens")
    label: Text = says("how the figures of this record come about", choices=LABELS)
    note: Text = says("what was sampled or left out; may be empty")

    def accuracy(self, outcome: str) -> float | None:
        """The accuracy of one of `OUTCOMES`."""
        return {
            "exact": self.accuracy_exact,
            "chip": self.accuracy_chip,
            "drifted": self.accuracy_drifted,
            "readapted": self.accuracy_readapted,
        }[outcome]

    def right(self, outcome: str) -> str | None:
        """The answers behind it, a digit each."""
        return {
            "exact": self.right_exact,
            "chip": self.right_chip,
            "drifted": self.right_drifted,
            "readapted": self.right_readapted,
        }[outcome]
