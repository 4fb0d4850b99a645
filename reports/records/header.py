"""What says which run a report is of, where it was made, and from what."""

from .kinds import Amount, Integer, Integers, Text
from .spec import record, says


@record
class Environment:
    """Where and how a run was made."""

    processor: Text = says("name of the processor", heading="processor")
    cores: Integer = says("cores that this process may use", "1", heading="cores")
    operating_system: Text = says("name and version", heading="operating system")
    python: Text = says("version of Python", heading="Python")
    commit: Text | None = says("commit of the package's checkout; null outside of one", heading="commit")
    product_arithmetic: Text = says(
        "how the sums of reads are multiplied on this processor", heading="arithmetic of products"
    )
    wall_seconds: Amount = says("time of the run by the clock", "s", "measured", heading="wall time")
    processes: Integer = says("processes that shared the work", "1", heading="processes")


@record
class Inputs:
    """SHA-256 of what went into a run."""

    chip_sha256: Text = says(
        "of every number of the chip, its cell and its periphery, settings applied", heading="SHA-256 of the chip"
    )
    model_sha256: Text = says("of the names, shapes and values of the model's weights", heading="SHA-256 of the model")
    pool_sha256: Text | None = says("the same of the pool; null without one", heading="SHA-256 of the pool")
    task_sha256: Text = says(
        "of all texts, or images, with their labels, train and test", heading="SHA-256 of the data"
    )


@record
class TestSet:
    """What a run was tested on."""

    seed: Integer = says("seed of the run")
    examples: Integers = says("places in the task's pool of test examples (`task.test_pool`)", at_least=1)
    sha256: Text = says("of these texts, or images, with their labels, in this order")
