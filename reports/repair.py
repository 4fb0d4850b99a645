"""What a record of `edge-adapt repair` says: means and paired differences, in words, and as a figure."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .canvas import INK, WIDE_INCHES, Drawing, finish, new_figure, percent_axis, percent_limits, quiet_axes
from .paired import Difference, of_answers, of_scores
from .records.repair import AGAIN, COMPENSATED, FRESH, NOTHING, PREPARED, REPAIRED, Repaired, RepairReport, Summary
from .values import JOIN, duration, si, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WORDS: Mapping[str, str] = {
    FRESH: "as adapted",
    NOTHING: "as it is",
    COMPENSATED: "drift compensation",
    PREPARED: "prepared vectors",
    REPAIRED: "repaired without labels",
    AGAIN: "adapted again, with labels",
}
_STYLES: Mapping[str, tuple[str, str, str]] = {
    NOTHING: ("#5a646e", "o", "-"),
    COMPENSATED: ("#0072b2", "s", "--"),
    PREPARED: ("#e69f00", "^", "-."),
    REPAIRED: ("#009e73", "D", "-"),
    AGAIN: ("#cc79a7", "X", ":"),
}  # colours that colour-blind people tell apart (Okabe and Ito), and a marker and a line each


def summarised(results: Sequence[Repaired], metric: str, shared: bool) -> list[Summary]:
    """A row for each age and way, in the order of the results. `shared`: all runs have the same test examples."""
    keys = dict.fromkeys((one.age_seconds, one.way) for one in results)
    return [_summary(results, age, way, metric, shared) for age, way in sorted(keys, key=lambda key: key[0])]


def _summary(results: Sequence[Repaired], age: float, way: str, metric: str, shared: bool) -> Summary:
    mine = _by_seed(results, age, way)
    lost = _difference(mine, _by_seed(results, 0, FRESH), metric, shared)
    change = _difference(mine, _by_seed(results, age, NOTHING), metric, shared)
    loss = _difference(_by_seed(results, age, NOTHING), _by_seed(results, 0, FRESH), metric, shared)
    mean: Callable[[str], float] = lambda name: float(np.mean([getattr(one, name) for one in mine.values()]))
    return Summary(
        age_seconds=age,
        way=way,
        score=mean("score"),
        change_points=change.points if change else None,
        change_error_points=change.error if change else None,
        lost_points=lost.points if lost else None,
        lost_error_points=lost.error if lost else None,
        regained_share=_share(change, loss) if way != NOTHING else None,
        energy_joules=mean("energy_joules") + mean("first_day_energy_joules"),
        answer_energy_joules=mean("answer_energy_joules"),
        cells_written=mean("cells_written"),
    )


def _share(change: Difference | None, loss: Difference | None) -> float | None:
    """What of a clear loss the change gives back."""
    if change is None or loss is None or loss.verdict != "worse" or not loss.points or change.points is None:
        return None
    return -change.points / loss.points


def _by_seed(results: Sequence[Repaired], age: float, way: str) -> dict[int, Repaired]:
    return {one.seed: one for one in results if (one.age_seconds, one.way) == (age, way)}


def _difference(
    mine: Mapping[int, Repaired], theirs: Mapping[int, Repaired], metric: str, shared: bool
) -> Difference | None:
    seeds = [seed for seed in mine if seed in theirs]
    if not seeds or mine is theirs:
        return None
    pairs = [(mine[seed].right, theirs[seed].right) for seed in seeds]
    if metric == "accuracy" and all(a is not None and b is not None for a, b in pairs):
        return of_answers([_bits(a) - _bits(b) for a, b in pairs], shared)
    return of_scores([mine[seed].score - theirs[seed].score for seed in seeds], 0)


def _bits(right: str | None) -> np.ndarray:
    assert right is not None
    return np.frombuffer(right.encode(), np.uint8).astype(float) - ord("0")


def verdict(report: RepairReport) -> str:
    """The answer in a sentence or two: what time took, what repair gave back, at what price."""
    last = max(row.age_seconds for row in report.summary)
    rows = {row.way: row for row in report.summary if row.age_seconds == last}
    age = duration(last)
    if NOTHING not in rows:
        return f"After {age}: {', '.join(f'{WORDS[way]} {_percent(row.score)} %' for way, row in rows.items())}."
    loss = rows[NOTHING]
    begin = (
        f"After {age}, {report.method} on {report.device} scores {_percent(loss.score)} %, "
        f"{_points(loss.lost_points, loss.lost_error_points)} from its first day"
    )
    if (row := rows.get(REPAIRED)) is None:
        return f"{begin}."
    share = "" if row.regained_share is None else f" ({row.regained_share:.0%} of what was lost)"
    return (
        f"{begin}. Repair without labels changes that by {_points(row.change_points, row.change_error_points)}{share}, "
        f"for {si(row.energy_joules, 'J')} and no cell written."
    )


def _percent(score: float) -> str:
    return f"{100 * score:.1f}"


def _points(points: float | None, error: float | None) -> str:
    if points is None:
        return "an unknown number of points"
    return f"{signed(points)}{JOIN}points" if error is None else f"{signed(points)}{JOIN}±{JOIN}{error:.1f}{JOIN}points"


def rows_of_table(report: RepairReport) -> list[tuple[str, ...]]:
    """(age, way, accuracy, change, energy, energy of an answer, cells written) in words, for each row of the
    summary.
    """
    return [
        (
            duration(row.age_seconds) if row.age_seconds else "fresh",
            WORDS[row.way],
            f"{_percent(row.score)} %",
            "" if row.way in (FRESH, NOTHING) or row.change_points is None else
            _points(row.change_points, row.change_error_points).replace(f"{JOIN}points", ""),
            si(row.energy_joules, "J") if row.energy_joules else "0 J",
            si(row.answer_energy_joules, "J"),
            f"{row.cells_written:,.0f}",
        )
        for row in report.summary
    ]  # fmt: skip


def figure(report: RepairReport, width: float = WIDE_INCHES) -> Drawing:
    """Accuracy against age, a line for each way."""
    ways = [way for way in _STYLES if any(row.way == way for row in report.summary)]
    fresh = next(row.score for row in report.summary if row.way == FRESH)
    with new_figure(3.4, width) as drawn:
        axes = drawn.subplots()
        drawn.subplots_adjust(left=0.62 / width, right=1 - 0.2 / width, top=0.86, bottom=0.31)
        for way in ways:
            _line(axes, [row for row in report.summary if row.way == way], way)
        axes.axhline(100 * fresh, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate("as adapted", (1, 100 * fresh), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                      xytext=(0, 2), textcoords="offset points", fontsize=8.5, color=INK)  # fmt: skip
        ages = sorted({row.age_seconds for row in report.summary if row.age_seconds})
        axes.set_xscale("log")
        axes.set_xticks(ages, [duration(age) for age in ages])
        axes.minorticks_off()
        axes.set_ylim(*percent_limits([100 * row.score for row in report.summary], 0.12))
        percent_axis(axes.yaxis, axes.get_ylim())
        axes.set_xlabel("age of the chip")
        axes.set_ylabel("accuracy on the chip, %")
        quiet_axes(axes)
        drawn.legend(loc="lower left", ncols=3, frameon=False, fontsize=8.5, bbox_to_anchor=(0.01, 0.0))
        spoken = "; ".join(f"{age} {way}: {score}" for age, way, score, *_ in rows_of_table(report))
        return finish(
            drawn, "repair", "What gives accuracy back to a chip that has drifted",
            f"Accuracy of {report.method} on {report.device}, task {report.task}. Bars: one standard error of the "
            "paired difference from the chip as it is.", f"Accuracy by age and way. {spoken}.", report.label,
        )  # fmt: skip


def _line(axes: "Axes", rows: Sequence[Summary], way: str) -> None:
    colour, marker, line = _STYLES[way]
    errors = [0.0 if way == NOTHING else row.change_error_points or 0.0 for row in rows]
    axes.errorbar(
        [row.age_seconds for row in rows], [100 * row.score for row in rows], yerr=errors, color=colour, marker=marker,
        linestyle=line, markersize=6, linewidth=1.6, elinewidth=0.9, capsize=2.5, label=WORDS[way],
    )  # fmt: skip
