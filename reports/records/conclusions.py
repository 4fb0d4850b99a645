"""What follows from the records of a report."""

from .kinds import Amount, Flag, Fraction, Integer, Number, Text, Texts
from .results import OUTCOMES
from .spec import record, says


@record
class Versus:
    """A method that writes cells, against programming the pool."""

    method: Text = says("method")
    placement: Text = says("placement")
    tasks: Integer | None = says(
        "tasks, rounded up, after which the pool has cost less; null = never", "1", "simulated"
    )
    steps: Integer | None = says(
        "the same in optimiser steps of one adaptation, of which the initial write comes first (0: it "
        "alone costs more than the pool); null = never, or no writes at steps",
        "1",
        "simulated",
    )
    write_energy_joules_per_task: Amount | None = says(
        "energy of the rewriting of one task, mean over its records", "J", "simulated"
    )
    write_energy_joules_per_step: Amount | None = says(
        "of one optimiser step, without the initial write; null without writes at steps", "J", "simulated"
    )
    initial_write_energy_joules: Amount | None = says(
        "of it, for the initial values, before the first step", "J", "simulated"
    )
    note: Text = says("remark; may be empty")


@record
class BreakEven:
    """Programming the pool against rewriting."""

    pool_programming_energy_joules: Amount | None = says("paid once", "J", "simulated")
    versus: list[Versus] = says("the methods that write cells")


@record
class Comparison:
    """The difference between two rows."""

    primary: Flag = says("whether it was named before the run as what the run is to decide")
    shots: Integer = says("labelled examples", "1")
    outcome: Text = says("what is compared", choices=OUTCOMES)
    method: Text = says("method")
    placement: Text = says("its placement")
    against_method: Text = says("the other method; the same where two outcomes are compared")
    against_placement: Text = says("its placement")
    against_outcome: Text = says("outcome of the other; mostly the same", choices=OUTCOMES)
    difference_points: Number | None = says(
        "the one minus the other, mean over runs; null where a run has no value", "percentage points", "simulated"
    )
    standard_error_points: Amount | None = says(
        "of the difference; see `error_of`; null where it cannot be told", "percentage points", "simulated"
    )
    degrees_of_freedom: Amount | None = says("of Student's t for this error", "1", "simulated")
    interval_points: Amount | None = says(
        "half the width of the 95 % interval: the error times the quantile of Student's t",
        "percentage points",
        "simulated",
    )
    error_of: Text = says(
        "what the error contains: the test examples alone (one run), examples, draws and chips, or the "
        "runs alone (scores that are no mean over examples)",
        choices=("examples", "examples and runs", "runs"),
    )
    runs: Integer = says("runs compared", "1", "counted")
    examples: Integer = says("test examples compared, each once", "1", "counted")
    verdict: Text = says(
        "`tie`: the difference may be none; `too few`: too few answers or runs to tell",
        choices=("better", "worse", "tie", "too few"),
    )


@record
class PoolTest:
    """The method with the pool against one other on held-out answers."""

    against: Text = says("the other method")
    answers: Integer = says("held-out answers of both", "1", "counted")
    only_pool_right: Integer = says("answers that the method with the pool alone got right", "1", "simulated")
    only_other_right: Integer = says("answers that the other alone got right", "1", "simulated")
    probability: Fraction = says("of a split at least as uneven if both were as good (two-sided)", "1", "simulated")
    verdict: Text = says("the outcome of this test", choices=("better", "worse", "cannot tell", "too few answers"))


@record
class PoolFit:
    """Does the pool suit the task?"""

    verdict: Text = says(
        "judged on labelled examples that were held out of training, never on the test set; exact weights",
        choices=("fits", "does not fit", "cannot tell", "too few answers"),
    )
    folds: Integer = says("folds of the cross-validation over all shots; 0: the held-back fifth alone", "1")
    tests: list[PoolTest] = says("the method with the pool against others without it, by McNemar's exact test")
    text: Text = says("the verdict in a sentence or two")


@record
class Reference:
    """A paper that numbers come from."""

    key: Text = says("citation key")
    citation: Text = says("authors, title, venue, year")
    doi: Text | None = says("DOI, arXiv number or address")
    used_for: Texts = says("constants and equations taken from it")
