"""Pairs of matrices beside the linears of a backbone. No torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Beside:
    """Two matrices in cells, one after the other, beside a backbone linear: their names. `behind`: they are read after
    that linear, on what it puts out.
    """

    linear: str
    first: str
    second: str
    behind: bool = False

    @property
    def reads_in_line(self) -> int:
        """Reads of a token that come on top of the linear's own, one after another."""
        return 2 if self.behind else 1


@dataclass(frozen=True)
class LowRank:
    """Two trained matrices of a linear, by name: `first` (rank, in), then `second` (out, rank).

    gate: a vector (rank,), held digitally, that what passes between them is multiplied by; "" for none.

    Training may give ranks up (`ranks.kept`): those are not written to cells, and not read. A plan, which knows shapes
    alone, counts all of them: an upper bound.
    """

    linear: str
    first: str
    second: str
    gate: str = ""
