"""What a report says, in sentences computed from its records. Arithmetic on means only; nothing physical."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .rows import Row, by_shots, paired_difference, rows_of, series_title
from .values import JOIN, Statistic, count, digits, duration, percent, si, signed, times


@dataclass(frozen=True)
class Finding:
    """One sentence or two, with the topic they belong to."""

    topic: str
    text: str


def findings(report: Mapping[str, Any]) -> list[Finding]:
    """The findings of a report, most important first. A topic without data gives none."""
    rows = rows_of(report["results"])
    largest = next(reversed(by_shots(rows).values()))
    return [
        *(finding for group in by_shots(rows).values() for finding in _accuracy_for_energy(group)),
        *_per_joule(largest),
        *_writes(rows),
        *break_even(report),
        *pool_fit(report),
        *_chip_loss(largest),
        *_drift(largest),
        *_wear(largest),
        *_precision(report["task"]["test_examples"], largest),
        *_estimated(rows),
    ]


def _known(rows: list[Row], *names: str) -> list[Row]:
    return [row for row in rows if all(row.stat(name).mean is not None for name in names)]


def _mean(row: Row, name: str) -> float:
    mean = row.stat(name).mean
    assert mean is not None, f"{row.title} has no {name}"  # rows come through _known
    return mean


def _percent(row: Row, name: str) -> str:
    return f"{percent(row.stat(name))}{JOIN}%"


def _energy(row: Row) -> str:
    text = si(row.stat("adaptation_energy_joules").mean, "J")
    return f"{text} (estimated)" if row.estimated else text


def _adapting(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.trains and row.stat("adaptation_energy_joules").mean]


def _best(rows: list[Row], name: str) -> Row:
    """The row with most of `name`; of equals the one that adapts for the least energy."""
    most = max(_mean(row, name) for row in rows)
    equals = [row for row in rows if _same(_mean(row, name), most)]
    return min(equals, key=lambda row: row.stat("adaptation_energy_joules").mean or 0.0)


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def best_without_writes(group: list[Row]) -> Row | None:
    """The most accurate row on the chip of those that train and write no cell; of equals the one of least energy."""
    still = _still(group)
    return _best(still, "accuracy_chip") if still else None


def _still(group: list[Row]) -> list[Row]:
    return [row for row in _adapting(_known(group, "accuracy_chip")) if row.writes_cells is False]


def _accuracy_for_energy(group: list[Row]) -> Iterator[Finding]:
    """The best method that trains and writes no cell against the best that writes, at one number of shots."""
    best = best_without_writes(group)
    if best is None:
        return
    writing = [row for row in _adapting(_known(group, "accuracy_chip")) if row.writes_cells]
    accuracy, energy = _mean(best, "accuracy_chip"), _mean(best, "adaptation_energy_joules")
    tied = [row for row in _still(group) if row is not best and _same(_mean(row, "accuracy_chip"), accuracy)]
    text = (
        f"At {best.shots} shots, {best.title} is the most accurate on the chip of the methods that train and write no "
        f"cell: {_percent(best, 'accuracy_chip')} for {_energy(best)} of adaptation"
    )
    if tied:
        text += f" (just as accurate, for more energy: {_listed([f'{row.title} {_energy(row)}' for row in tied])})"
    if writing:
        other = _best(writing, "accuracy_chip")
        its_energy = _mean(other, "adaptation_energy_joules")
        text += (
            f"; of those that write cells it is {other.title} with {_percent(other, 'accuracy_chip')} "
            f"for {_energy(other)}"
        )
        larger, smaller = max(its_energy, energy), min(its_energy, energy)
        if larger / smaller >= 1.05:
            text += (
                f", {times(larger / smaller)} the energy"
                if its_energy > energy
                else f", {times(larger / smaller)} less"
            )
        text += "." + _pairs(paired_difference(best, other, "accuracy_chip"), f"{best.title} minus {other.title}")
    else:
        text += "."
    bests = [best, _best(writing, "accuracy_chip")] if writing else [best]
    yield Finding("accuracy and energy", text + _less_does(group, bests))


def _less_does(group: list[Row], bests: list[Row]) -> str:
    """Says so where the model as it is, or the classifier alone, is no worse than the `bests`, which train."""
    text = ""
    best = bests[0]
    if best.stat("trained_parameters").mean == 0 and len(_still(group)) > 1:
        text += " Of those, none that trains more than the classifier is more accurate."
    resting = [row for row in _known(group, "accuracy_chip") if not row.trains]
    rest = _best(resting, "accuracy_chip").stat("accuracy_chip") if resting else best.stat("accuracy_chip_before")
    if rest.mean is None:
        return text
    title = f"{_best(resting, 'accuracy_chip').title}, which trains nothing," if resting else "The model as it was"
    accuracy = {row.title: _mean(row, "accuracy_chip") for row in bests}
    reached = [name for name, value in accuracy.items() if rest.mean > value or _same(rest.mean, value)]
    if reached:
        equal = any(_same(rest.mean, accuracy[name]) for name in reached)
        text += f" {title} has {percent(rest)}{JOIN}%: {'no less' if equal else 'more'} than {_listed(reached)}."
    return text


def _pairs(difference: Statistic, what: str) -> str:
    if difference.mean is None:
        return ""
    points = signed(100 * difference.mean)
    if difference.spread is None:
        return f" {what}, same seed: {points} points; one seed says nothing about the spread."
    inside = abs(difference.mean) <= difference.spread
    return (
        f" {what}, seed by seed: {points}{JOIN}±{JOIN}{100 * difference.spread:.1f} points "
        f"over {difference.count} seeds{', within the spread' if inside else ''}."
    )


def _per_joule(group: list[Row]) -> Iterator[Finding]:
    known = _adapting(_known(group, "accuracy_chip", "accuracy_chip_before"))
    gains = {
        row.title: 100
        * (_mean(row, "accuracy_chip") - _mean(row, "accuracy_chip_before"))
        / _mean(row, "adaptation_energy_joules")
        for row in known
    }
    ranked = sorted(((gain, title) for title, gain in gains.items() if gain > 0), reverse=True)
    if len(ranked) < 2:
        return
    (first, winner), (second, runner_up) = ranked[:2]
    yield Finding(
        "accuracy per joule",
        f"Most accuracy per joule of adaptation at {group[0].shots} shots: {winner}, {digits(first)} points per joule "
        f"(gain on the chip over no adaptation); next is {runner_up} with {digits(second)}.",
    )


def _writes(rows: list[Row]) -> Iterator[Finding]:
    still = list(dict.fromkeys(row.title for row in rows if row.writes_cells is False))
    runs = sum(len(row.records) for row in rows if row.writes_cells is False)
    if still:
        yield Finding(
            "cell writes",
            f"No cell was written in {'the run' if runs == 1 else f'any of the {runs} runs'} of {_listed(still)}.",
        )
    written: dict[str, list[float]] = {}
    for row in rows:
        cells = row.stat("cells_written").mean
        if row.writes_cells and cells is not None:
            written.setdefault(row.title, []).append(cells)
    if written:
        parts = []
        for title, cells_list in written.items():
            low, high = count(min(cells_list)), count(max(cells_list))
            parts.append(f"{title} {low}" if low == high else f"{title} {low} to {high}")
        yield Finding("cell writes", f"Cell writes of one adaptation: {'; '.join(parts)}.")


def break_even(report: Mapping[str, Any]) -> list[Finding]:
    """After how many tasks and steps the pool's one-time programming is paid back."""
    section = report["break_even"]
    if section is None or not section["versus"]:
        return []
    parts = []
    for entry in section["versus"]:
        name = series_title(entry["method"], entry["placement"])
        tasks, steps = entry["tasks"], entry["steps"]
        if tasks is None and steps is None:
            parts.append(f"against {name} never")
            continue
        after = [] if tasks is None else [f"after {count(tasks)} task{'' if tasks <= 1 else 's'}"]
        if steps == 0:
            after.append("before the first step, by the write of the initial values alone")
        elif steps is not None:
            first = " that follow the write of the initial values" if entry["initial_write_energy_joules"] else ""
            after.append(f"after {count(steps)} step{'' if steps <= 1 else 's'}{first if steps > 1 else ''}")
        parts.append(f"against {name} {' or '.join(after)}")
    cost = si(section["pool_programming_energy_joules"], "J")
    return [Finding("break-even", f"Programming the pool once costs {cost}. It is paid back {'; '.join(parts)}.")]


def pool_fit(report: Mapping[str, Any]) -> list[Finding]:
    """The verdict on the pool, with the report's own explanation."""
    fit = report["pool_fit"]
    return [] if fit is None else [Finding("pool fit", f"{_VERDICTS[fit['verdict']]} {fit['text']}".strip())]


_VERDICTS = {
    "fits": "The pool fits this task.",
    "does not fit": "The pool does not fit this task.",
    "cannot tell": "Whether the pool fits this task cannot be told.",
    "too few answers": "Too few answers were held out to tell whether the pool fits this task.",
}


def _chip_loss(group: list[Row]) -> Iterator[Finding]:
    known = _known(_adapting(group), "accuracy_exact", "accuracy_chip")
    losses = {row.title: 100 * (_mean(row, "accuracy_exact") - _mean(row, "accuracy_chip")) for row in known}
    if not losses:
        return
    low, high = min(losses, key=lambda title: losses[title]), max(losses, key=lambda title: losses[title])
    text = f"Read on the chip instead of with exact weights, accuracy at {group[0].shots} shots changes by "
    if low == high:
        text += f"{signed(-losses[low])} points ({low})."
    else:
        text += f"{signed(-losses[high])} points ({high}) to {signed(-losses[low])} ({low})."
    yield Finding("cost of the chip", text)


def _drift(group: list[Row]) -> Iterator[Finding]:
    known = _known(_adapting(group), "accuracy_chip", "accuracy_drifted")
    if not known:
        return
    best = _best(known, "accuracy_chip")
    age = max((point["age_seconds"] for record in best.records for point in record["drift"]), default=None)
    when = f"after {duration(age)}" if age else "after drift"
    text = (
        f"{best.title} at {best.shots} shots: {_percent(best, 'accuracy_chip')} as adapted, "
        f"{_percent(best, 'accuracy_drifted')} {when}"
    )
    if best.stat("accuracy_readapted").mean is not None:
        text += f", {_percent(best, 'accuracy_readapted')} after adapting again on the drifted chip"
        if (again := best.stat("readaptation_energy_joules").mean) is not None:
            text += f" for {si(again, 'J')}"
    if (looked := best.stat("compensation_energy_joules").mean) is not None:
        text += f"; drift compensation takes {si(looked, 'J')} each time, for every matrix on the chip"
    yield Finding("drift", text + ".")


def _wear(group: list[Row]) -> Iterator[Finding]:
    wearing = {row.title: row.tasks_until_worn_out for row in group}
    worn = {title: tasks for title, tasks in wearing.items() if isinstance(tasks, float)}
    if worn:
        parts = [f"{title} after {count(tasks)} tasks" for title, tasks in sorted(worn.items(), key=lambda kv: kv[1])]
        yield Finding("wear", f"The rated writes of the cells are used up by {'; '.join(parts)}.")


def _precision(test_examples: int, group: list[Row]) -> Iterator[Finding]:
    """The standard error that the size of the test set alone gives to the best accuracy (binomial)."""
    known = _known(group, "accuracy_chip")
    if not known or not test_examples:
        return
    accuracy = _mean(_best(known, "accuracy_chip"), "accuracy_chip")
    error = 100 * math.sqrt(accuracy * (1 - accuracy) / test_examples)
    yield Finding(
        "precision",
        f"All accuracies are of the same {test_examples:,} test examples: one example is "
        f"{digits(100 / test_examples, 2)} points, and one standard error of sampling near {100 * accuracy:.0f}{JOIN}% "
        f"is ±{JOIN}{error:.1f} points, which the spread over seeds does not contain.",
    )


def _estimated(rows: list[Row]) -> Iterator[Finding]:
    titles = list(dict.fromkeys(row.title for row in rows if row.estimated))
    if titles:
        yield Finding("labels", f"Estimated, not simulated event by event: {_listed(titles)}. Their notes say how.")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
