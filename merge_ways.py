"""The ways to merge the modules of a pool into one, by the names that peft and mergekit give them.

They are known to `--help`, so nothing is imported here.

A merge of low-rank modules has two meanings, and each way has one of them:

- *of the factors*: A is merged from all A_k and B from all B_k. The rank stays, and the product B A has cross terms
  B_j A_k that no module has. peft: linear, ties, dare_linear, dare_ties, magnitude_prune.
- *of the updates* s_k B_k A_k: the merged update is what the paper of the way means. It is written exactly, as the
  modules side by side, where it is a sum of whole updates, or else as the nearest matrix of a rank, by singular values.

The merge error of a matrix is the distance of what is written from the merged update (for a way of the factors: from
what the same way makes of the updates), over the norm of the latter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

DEFAULT_GAMMA = 0.01


@dataclass(frozen=True)
class Way:
    """One way to merge.

    of: what it merges. cut: what it takes of each module before that: everything, the numbers of largest magnitude,
    random ones, or those without outliers. join: how the modules become one. density: share of the numbers that the cut
    keeps, by default. keeps_rank: "sum" writes whole updates side by side; "largest" has the rank of the largest
    module, by default. settable_rank: whether another rank can be asked for.
    """

    name: str
    summary: str
    of: Literal["factors", "updates"] = "updates"
    cut: Literal["nothing", "smallest", "random", "crumbs"] = "nothing"
    join: Literal["sum", "elected", "slerp"] = "sum"
    density: float = 1.0
    keeps_rank: Literal["sum", "largest"] = "largest"
    settable_rank: bool = True

    @property
    def needs_same_targets(self) -> bool:
        """Whether every module must change the same linears, with the same ranks where factors are merged."""
        return self.of == "factors" or self.join == "slerp"

    def even_weights(self, modules: int) -> tuple[float, ...]:
        """What the modules weigh by default: a mean. The mean over elected signs is one already."""
        return ((1.0 if self.join == "elected" else 1.0 / modules),) * modules


def _factors(way: Way) -> Way:
    """The way of the factors that does to them what `way` does to the updates; peft's `*_svd` without that end."""
    return Way(
        way.name.removesuffix("-svd"), f"{way.summary}, of the factors", "factors", way.cut, way.join, way.density,
        settable_rank=False,
    )  # fmt: skip


_UPDATES = (
    Way("task-arithmetic", "the weighted sum, exact unless --rank is given", keeps_rank="sum"),
    Way("cat", "the weighted sum, exact, modules side by side", keeps_rank="sum", settable_rank=False),
    Way("svd", "the weighted sum, cut to a rank"),
    Way("slerp", "along the arc between two modules, exact unless --rank is given", join="slerp", keeps_rank="sum"),
    Way("ties-svd", "TIES: largest numbers, elected signs, mean", cut="smallest", join="elected", density=0.2),
    Way("dare-linear-svd", "DARE: random numbers, stretched, summed", cut="random", density=0.5),
    Way("dare-ties-svd", "DARE, then TIES' signs and mean", cut="random", join="elected", density=0.5),
    Way("magnitude-prune-svd", "largest numbers, summed", cut="smallest", density=0.5),
    Way("breadcrumbs", "Model Breadcrumbs: neither outliers nor the smallest numbers, summed", cut="crumbs",
        density=0.9),
)  # fmt: skip
_LINEAR = Way("linear", "the weighted sum of the factors, cross terms included", "factors", settable_rank=False)

WAYS: Mapping[str, Way] = {
    way.name: way for way in (*_UPDATES, _LINEAR, *(_factors(w) for w in _UPDATES if w.name.endswith("-svd")))
}
