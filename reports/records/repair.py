"""`repair.json` of `edge-adapt repair`: what gives back the accuracy that a chip has lost."""

from .kinds import Amount, Amounts, Free, Integer, Number, Text, Texts, Time
from .spec import record, says

REPAIR_SCHEMA = "edge-adapt/repair/1"
FRESH, NOTHING, COMPENSATED, PREPARED, REPAIRED, AGAIN = WAYS = (
    "fresh", "nothing", "compensation", "prepared", "repaired", "again",
)  # fmt: skip


@record
class Repaired:
    """One way in one run at one age."""

    seed: Integer = says("of the run: draws, training, test examples and chip")
    age_seconds: Amount = says("since the chip was adapted; 0 for the fresh chip", "s")
    way: Text = says("what was done", choices=WAYS)
    score: Number = says("by the task's metric, on the run's test examples", "", "simulated")
    right: Text | None = says("1 for each right answer, 0 for a wrong one, in the order of the test examples; null for "
                              "tagged words")  # fmt: skip
    energy_joules: Amount = says("of what was done, once", "J", "simulated")
    time_seconds: Amount = says("of the same", "s", "simulated")
    first_day_energy_joules: Amount = says("of what was noted when the chip was fresh", "J", "simulated")
    remembered_bytes: Integer = says("of what was noted", "byte", "counted")
    cells_written: Integer = says("cells that took a pulse", "1", "counted")
    answer_energy_joules: Amount = says("of one answer from then on", "J", "simulated")
    event_counts: Amounts = says("of what was done, once, by kind (docs/energy.md)", "", "counted")


@record
class Summary:
    """One way at one age, in the mean of the runs."""

    age_seconds: Amount = says("age of the chip", "s")
    way: Text = says("what was done", choices=WAYS)
    score: Number = says("mean over the runs", "", "simulated")
    change_points: Number | None = says("from `nothing` at this age, paired", "percentage points", "simulated")
    change_error_points: Amount | None = says("its standard error", "percentage points", "simulated")
    lost_points: Number | None = says(
        "from the fresh chip, paired; negative for a loss", "percentage points", "simulated"
    )
    lost_error_points: Amount | None = says("its standard error", "percentage points", "simulated")
    regained_share: Number | None = says(
        "the change over what `nothing` lost; null where that is no clear loss", "1", "simulated"
    )
    energy_joules: Amount = says("mean over the runs, the first day included", "J", "simulated")
    answer_energy_joules: Amount = says("mean over the runs", "J", "simulated")
    cells_written: Number = says("mean over the runs", "1", "counted")


@record
class RepairReport:
    """The whole."""

    schema: Text = says("name and version of the schema", choices=(REPAIR_SCHEMA,))
    version: Text = says("of edge-adapt")
    created: Time = says("when the run ended")
    command: Text = says("the command line")
    config: Free = says("every option")
    device: Text = says("name of the chip")
    cell: Text = says("its memory cell, in words")
    model: Text = says("name of the model")
    task: Text = says("name of the task")
    metric: Text = says("of the score")
    test_examples: Integer = says("that each run was tested on", "1")
    method: Text = says("the method that was adapted")
    placement: Text = says("where its state lives")
    results: list[Repaired] = says("every way in every run at every age")
    summary: list[Summary] = says("in the mean of the runs")
    messages: Texts = says("remarks")
    label: Text = says("how the figures come about", choices=("simulated",))
