"""What a comparison says, in sentences computed from its records. Nothing physical.

No row is called more accurate than another unless their paired difference says so: inside the error it is a tie.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from .compare_rows import (
    common_tasks,
    devices_of,
    never_wears,
    row_like,
    rows_on,
    tasks_in,
    tasks_of,
)
from .findings import Finding, points_of
from .frontier import frontier
from .paired import FEWEST_EXAMPLES
from .records.compare import Compared
from .rows import Row
from .uncertainty import Errors
from .values import JOIN, count, digits, si, signed, times

_FEWEST_RARER = 5
"""Fewer wrong answers, or right ones, and the normal standard error of their share is far too small."""


def compare_findings(comparison: Compared) -> list[Finding]:
    """The findings, most important first. A topic without data gives none."""
    devices, errors = devices_of(comparison), _errors(comparison)
    return [
        *(finding for device in devices for finding in _budgets(comparison, device)),
        *_cheapest(comparison),
        *(finding for device in devices for finding in _drift(device, rows_on(comparison, device), errors)),
        *(finding for device in devices for finding in _lifetimes(device, rows_on(comparison, device))),
        *_precision(comparison),
        *_programming(comparison),
        *_failures(comparison),
    ]


def _mean(row: Row, name: str) -> float:
    mean = row.stat(name).mean
    assert mean is not None, f"{row.title} has no {name}"  # the caller has looked
    return mean


def _energy(row: Row) -> str:
    return si(_mean(row, "adaptation_energy_joules"), "J")


def _accuracy(row: Row, name: str = "accuracy_chip") -> str:
    return f"{100 * _mean(row, name):.1f}{JOIN}%"


def _budgets(comparison: Compared, device: str) -> Iterator[Finding]:
    """Which methods are worth their energy: the frontier, walked from cheap to expensive. No row is called more
    accurate than another inside the error.
    """
    rows, errors = rows_on(comparison, device), _errors(comparison)
    front = frontier(rows, errors.better)
    if not front:
        return
    steps = [f"{front[0].title} for {_energy(front[0])} ({_accuracy(front[0])})"]
    for before, row in pairwise(front):
        steps.append(f"{row.title} for {_energy(row)} ({_accuracy(row)}, {_difference(errors, row, before)})")
    mine = tasks_in(rows)
    alone = "" if len(mine) == len(tasks_of(comparison)) else f" (over {_listed(mine)} alone)"
    text = (
        f"More energy for one adaptation{alone} buys accuracy on the chip in these steps, each larger than the "
        f"error: {_joined(steps)}."
        if len(front) > 1
        else f"The cheapest adaptation{alone} is {steps[0]}."
    )
    last, most = front[-1], max((r for r in rows if _known(r)), key=lambda r: _mean(r, "adaptation_energy_joules"))
    above = [row for row in rows if _known(row) and row is not last and _costs_more(row, last)]
    if above:
        found = [errors.difference(row, "chip", last, "chip") for row in above]
        few = any(difference is None or difference.verdict == "too few" for difference in found)
        text += (
            f" There are too few answers to tell whether it helps to spend more than {last.title} does."
            if few
            else f" No method that takes more energy is more accurate than {last.title} by more than the error."
        )
    multiple = _ratio(most, last)
    if most is not last and multiple:
        text += (
            f" {most.title} takes the most energy, {_energy(most)} ({times(multiple)} as much as {last.title}), and "
            f"reaches {_accuracy(most)}."
        )
    yield Finding(f"energy budget on {device}", text)


def _errors(comparison: Compared) -> Errors:
    return Errors.of_tasks(comparison.tasks)


def _difference(errors: Errors, row: Row, other: Row) -> str:
    """ "+4.8 ± 1.0 points" of two rows on the chip."""
    found = errors.difference(row, "chip", other, "chip")
    assert found is not None and found.points is not None, "the frontier is made of rows with a difference"
    return points_of(found.points, found.error)


def _costs_more(row: Row, other: Row) -> bool:
    return _mean(row, "adaptation_energy_joules") > _mean(other, "adaptation_energy_joules")


def _known(row: Row) -> bool:
    return None not in (row.stat("adaptation_energy_joules").mean, row.stat("accuracy_chip").mean)


def _ratio(row: Row, other: Row, name: str = "adaptation_energy_joules") -> float | None:
    mine, theirs = row.stat(name).mean, other.stat(name).mean
    return mine / theirs if mine is not None and theirs else None


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{'; '.join(parts[:-1])}; and {parts[-1]}"


def _cheapest(comparison: Compared) -> Iterator[Finding]:
    """On which device adapting, and one answer, costs least, over the tasks that all devices share."""
    tasks, devices = common_tasks(comparison), devices_of(comparison)
    if len(devices) < 2 or not tasks:
        return
    rows = {device: rows_on(comparison, device, tasks) for device in devices}
    for name, what in (("adaptation_energy_joules", "one adaptation"), ("inference_energy_joules", "one example")):
        wins, total = dict.fromkeys(devices, 0), 0
        for row in rows[devices[0]]:
            costs = {d: like.stat(name).mean for d in devices if (like := row_like(rows[d], row)) is not None}
            known = {device: cost for device, cost in costs.items() if cost}
            if len(known) == len(devices):
                total += 1
                for device, cost in known.items():
                    wins[device] += cost == min(known.values())
        best = frontier(rows[devices[0]], _errors(comparison).better)[-1:]
        if not total or not best:
            continue
        won = _listed([f"{device} for {n} of {total}" for device, n in wins.items() if n])
        costs = {d: like.stat(name).mean for d in devices if (like := row_like(rows[d], best[0])) is not None}
        listed = ", ".join(f"{device} {si(cost, 'J')}" for device, cost in sorted(costs.items(), key=_by_cost))
        yield Finding(
            "cheapest device",
            f"The cheapest device for {what} is {won} methods and placements. {best[0].title} takes: {listed}.",
        )


def _by_cost(entry: tuple[str, float | None]) -> float:
    return float("inf") if entry[1] is None else entry[1]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _drift(device: str, rows: Sequence[Row], errors: Errors) -> Iterator[Finding]:
    """What 30 days take from the methods that adapt, and what adapting again gives back."""
    names = ("accuracy_chip", "accuracy_drifted", "accuracy_readapted")
    known = [r for r in rows if r.adapts and None not in [r.stat(n).mean for n in names]]
    if not known:
        return
    best = max(known, key=lambda row: _mean(row, "accuracy_chip"))
    lost = {row.title: 100 * (_mean(row, "accuracy_drifted") - _mean(row, "accuracy_chip")) for row in known}
    won = {row.title: 100 * (_mean(row, "accuracy_readapted") - _mean(row, "accuracy_drifted")) for row in known}
    worst = min(lost, key=lambda title: lost[title])
    if not any(lost.values()):
        yield Finding(f"drift on {device}", "30 days do not change the accuracy on the chip of any method that trains.")
        return
    yield Finding(
        f"drift on {device}",
        f"30 days change the accuracy of the methods that train, on the chip, by "
        f"{signed(sum(lost.values()) / len(lost))} points on average ({signed(lost[worst])} for {worst}). "
        f"Adapting again changes it by {signed(sum(won.values()) / len(won))}. "
        f"{best.title}: {_accuracy(best)}, {_accuracy(best, names[1])} after "
        f"30 days ({_change(errors, best, 'drifted', 'chip')}), {_accuracy(best, names[2])} adapted again "
        f"({_change(errors, best, 'readapted', 'drifted')}).",
    )


def _change(errors: Errors, row: Row, outcome: str, before: str) -> str:
    """ "−5.0 ± 2.1 points, a tie": what one row's accuracy changes by, and whether that is more than the error."""
    found = errors.difference(row, outcome, row, before)
    assert found is not None and found.points is not None, "the caller has looked"
    doubt = {"tie": ", a tie", "too few": ", too few answers to tell"}.get(found.verdict, "")
    return f"{points_of(found.points, found.error)}{doubt}"


def _lifetimes(device: str, rows: Sequence[Row]) -> Iterator[Finding]:
    """How many tasks the cells last, where adapting writes any."""
    writing = [row for row in rows if row.writes_cells]
    if not writing:
        return
    limited = {row.title: row.tasks_until_worn_out for row in writing}
    worn = sorted((tasks, title) for title, tasks in limited.items() if isinstance(tasks, float))
    parts = [f"{title} {count(tasks) if tasks >= 10 else digits(tasks, 2)}" for tasks, title in worn]
    text = f"The cell that is written most lasts for so many adaptations: {', '.join(parts)}." if worn else ""
    rest = [row for row in writing if limited[row.title] is None]
    if endless := [row.title for row in rest if never_wears(row)]:
        text += f" The cells that {_listed(endless)} write{'s' if len(endless) == 1 else ''} do not wear out."
    if unknown := [row.title for row in rest if not never_wears(row)]:
        text += (
            f" The endurance of the cells that {_listed(unknown)} write{'s' if len(unknown) == 1 else ''} is unknown."
        )
    still = sum(row.writes_cells is False for row in rows)
    if still:
        text += f" The other {still} write no cells."
    yield Finding(f"lifetime on {device}", text.strip())


def _precision(comparison: Compared) -> Iterator[Finding]:
    """What the size of the test sets alone leaves open: the binomial standard error of the best accuracy.

    It needs some right and some wrong answers: a method that gets 12 of 12 right has no error of 0 points.
    """
    known = [r.accuracy_chip for r in comparison.results if r.accuracy_chip is not None]
    examples = min((task.test_examples for task in comparison.tasks), default=0)
    if known and examples:
        best = max(known)
        rarer = round(min(best, 1 - best) * examples)
        near = f"near {100 * best:.0f}{JOIN}%"
        if examples < FEWEST_EXAMPLES or rarer < _FEWEST_RARER:
            kind = "answers" if examples < FEWEST_EXAMPLES else "wrong answers" if best > 0.5 else "right answers"
            said = f"There are too few {kind} to give the sampling error {near}."
        else:
            error = 100 * math.sqrt(best * (1 - best) / examples)
            said = (
                f"The choice of these examples alone gives a standard error {near} of {error:.1f} points, which the "
                "spread over seeds does not include."
            )
        yield Finding(
            "precision", f"All methods and devices answer the same {examples:,} test examples of a task. {said}"
        )


def _programming(comparison: Compared) -> Iterator[Finding]:
    """What the one-time programming costs."""
    parts = []
    for device in comparison.devices:
        cost = device.programming
        error = cost.weight_error_relative
        wrong = "" if error is None else f", weight error {_share(error)}"
        parts.append(f"{si(cost.energy_joules, 'J')} on {device.device} ({count(cost.cells)} cells{wrong})")
    if parts:
        yield Finding("programming", f"Programming the backbone and the pool once takes {'; '.join(parts)}.")


def _share(share: float) -> str:
    return f"{digits(100 * share, 2)}{JOIN}%"


def _failures(comparison: Compared) -> Iterator[Finding]:
    failed = [cell for cell in comparison.cells if cell.status == "failed"]
    for cell in failed:
        yield Finding("failed", f"{cell.device}, {cell.task}: {cell.message}")
