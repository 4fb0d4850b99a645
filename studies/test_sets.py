"""What each run is tested on: examples of its own, where the task has enough of them.

The task's own test split is the first set. Further sets hold as many examples of each class, and are taken out of what
could be trained on: at most until half of each class is tested on, and never the last ones that the shots need. So no
example of any set is ever trained on, and no two sets share one.
"""

import dataclasses
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..workloads.task import Example, Task


@dataclass(frozen=True)
class TestSet:
    """`numbers`: places of the examples in the task's pool of test examples, which is `Task.test`."""

    __test__ = False  # pytest: not a test

    seed: int
    numbers: tuple[int, ...]
    examples: tuple[Example, ...]

    @property
    def sha256(self) -> str:
        """Of the texts, or the digests of images, with their labels."""
        digest = hashlib.sha256()
        for example in self.examples:
            digest.update(repr((example.text, example.label, example.tags)).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def with_pool(task: Task, shots: Iterable[int]) -> Task:
    """The task with a pool of test examples in the place of its test split: whole sets, one after the other."""
    size = len(task.test)
    needed = -(-max(shots) // len(task.strata or task.labels))
    wanted = {label: sum(e.label == label for e in task.test) for label in {e.label for e in task.test}}
    spare = {label: [e for e in task.train if e.label == label] for label in wanted}
    more = min(
        max(0, min((len(own) + wanted[label]) // 2 - wanted[label], len(own) - needed)) // wanted[label]
        for label, own in spare.items()
    )
    if not more or not size:
        return task
    pool = list(task.test)
    taken: set[int] = set()
    for number in range(more):
        left = {label: iter(own[number * wanted[label] :]) for label, own in spare.items()}
        # The order of the first set: its classes, one after the other, give the next example each.
        chosen = [next(left[example.label]) for example in task.test]
        pool += chosen
        taken.update(map(id, chosen))
    train = tuple(example for example in task.train if id(example) not in taken)
    return dataclasses.replace(task, train=train, test=tuple(pool))


def draw(task: Task, size: int, seeds: Iterable[int]) -> dict[int, TestSet]:
    """The set of each seed, of a task that `with_pool` gave: set number seed modulo the sets there are, and the first
    one for all where there are more seeds than sets. `size`: examples of the task's own test split.
    """
    seeds = list(seeds)
    sets = len(task.test) // size
    found = {}
    for seed in seeds:
        first = size * (seed % sets) if len(seeds) <= sets else 0
        numbers = tuple(range(first, first + size))
        found[seed] = TestSet(seed, numbers, tuple(task.test[n] for n in numbers))
    return found


def answers_in_order(order: np.ndarray, right: np.ndarray) -> str:
    """Right answers, given in the `order` of evaluation, as a text of 0 and 1 in the order of the examples."""
    bits = np.empty(len(right), np.uint8)
    bits[order] = right
    return "".join("01"[bit] for bit in bits)
