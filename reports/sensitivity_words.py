"""What a sensitivity says, in words: for the terminal, the page and the findings of a report."""

from .sensitivity import Ranking, Turn
from .values import UNKNOWN, count, si


def in_words(turn: Turn) -> str:
    """A constant: what it is, and its key."""
    return turn.meaning if turn.key == turn.meaning else f"{turn.meaning} ({turn.key})"


def value_text(value: float | None, unit: str) -> str:
    """A value with its unit; what no source gives counts as 0."""
    return "unknown, 0" if value is None else si(value, unit)


def between_text(turn: Turn) -> str:
    """The range of a constant, and whether the turn lies in it."""
    if turn.between is None:
        return UNKNOWN
    text = f"{si(turn.between.low, turn.unit)} to {si(turn.between.high, turn.unit)}"
    return f"{text}: {'always' if turn.always else 'inside'}" if turn.inside else text


def ratio_text(turn: Turn) -> str:
    """The first method's energy over the second's at both ends of the range."""
    return UNKNOWN if turn.ends is None else " to ".join(f"{end:.{2 if end >= 0.1 else 4}f}" for end in turn.ends)


def turning(turn: Turn, arrays: int) -> str:
    """ "one multiply-add below 961 fJ (2.94 pJ here)"; of one array also what that is for a chip of so many."""
    here = "unknown here, counted as 0" if turn.now is None else f"{si(turn.now, turn.unit)} here"
    whole = ""
    if turn.key == "periphery.leakage.power" and turn.at is not None:
        whole = f", {si(turn.at * arrays, 'W')} for the chip"
    return f"{in_words(turn)} {turn.side} {si(turn.at, turn.unit)}{whole} ({here})"


def verdict(ranking: Ranking, arrays: int) -> str:
    """Which of the two takes less, and the first constant that turns that."""
    less, more = ranking.joules
    if ranking.even:
        return f"Adapting takes the same energy with {ranking.first} and with {ranking.second}, {si(less, 'J')}."
    mine, theirs = f"{ranking.first}, {si(less, 'J')}", f"{ranking.second}, {si(more, 'J')}"
    text = f"Adapting takes less energy with {mine}, than with {theirs}."
    if (turn := ranking.decisive) is not None:
        beyond = "every value that sources give does that" if turn.always else "sources differ that much"
        return f"{text} That turns round with {turning(turn, arrays)}; {beyond}."
    if (turn := ranking.nearest) is not None:
        unjudged = "" if turn.between is not None else "; sources give no range for that one"
        return (
            f"{text} No constant turns it inside its published range; the nearest is {turning(turn, arrays)}{unjudged}."
        )
    return f"{text} No constant turns that."


def answers_text(ranking: Ranking) -> str:
    """After how many answers the order turns, because the answers of the cheaper adaptation are dearer; "" if never."""
    if ranking.answers is None or ranking.answer_joules is None:
        return ""
    extra = ranking.answer_joules[0] - ranking.answer_joules[1]
    if ranking.even:
        return f"An answer with {ranking.first} takes {si(extra, 'J')} more."
    answers = count(ranking.answers)
    text = (
        f"An answer with {ranking.first} takes {si(extra, 'J')} more: after {answers} answers the other has taken less."
    )
    if ranking.writes_eaten is not None:
        text += f" What it saved in writes is gone after {count(ranking.writes_eaten)}."
    return text
