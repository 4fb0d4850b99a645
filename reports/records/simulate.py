"""`report.json` of `edge-adapt simulate`, from its parts."""

from .conclusions import BreakEven, Comparison, PoolFit, Reference
from .device import Device
from .header import Environment, Inputs, TestSet
from .kinds import Free, Integers, Text, Texts, Time, Words
from .programming import Programming, Tile
from .results import Result
from .spec import record, says
from .workload import Model, Pool, RawPixels, Task

SCHEMA = "edge-adapt/simulate/2"


@record
class SimulateReport:
    """`report.json` of `edge-adapt simulate`."""

    schema: Text = says("name and version of this schema", choices=(SCHEMA,))
    created: Time = says("when the run ended")
    command: Text = says("the command line that gives this report again")
    config: Free = says("every option as it ran: methods with their placements, defaults filled in")
    config_hash: Text = says("hash of the options: equal hash, equal experiment")
    versions: Words = says("package name to version")
    environment: Environment = says("where and how the run was made; no figure of `results` depends on it by design")
    inputs: Inputs = says("SHA-256 of what went in")
    seeds: Integers = says("seeds of the runs", at_least=1)
    ages_seconds: Integers = says("ages of the chip at which it was tested, rising", "s", at_least=1)
    test_sets: list[TestSet] = says("what each run was tested on", at_least=1)
    device: Device = says("the simulated chip")
    model: Model = says("the backbone")
    task: Task = says("the unseen task")
    pool: Pool | None = says("the frozen LoRA pool; null when no method of the run uses one")
    raw_pixels: list[RawPixels] = says("a logistic regression on the pixels of the same examples; empty for texts")
    programming: Programming = says("the one-time programming of backbone and pool, on the chip of the first run")
    conductance_map: Tile | None = says("one tile, as a picture")
    results: list[Result] = says("one record per method × placement × shots × seed", at_least=1)
    break_even: BreakEven | None = says("pool programming against rewriting; null without a pool")
    comparisons: list[Comparison] = says("differences between two rows, on the same test examples, chips and draws")
    pool_fit: PoolFit | None = says("does the pool suit the task? null without a pool")
    references: list[Reference] = says("papers the numbers come from")
    messages: Texts = says("what the reader should know about this run: fallbacks, samples, doubts")
    results_digest: Text = says(
        "SHA-256 of `results`, `test_sets`, `raw_pixels` and the figures of programming, floats to 9 "
        "digits: equal digest, equal results; nothing that depends on the clock is in it"
    )
