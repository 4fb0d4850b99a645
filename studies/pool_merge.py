"""Merge the modules of a pool into one adapter that peft loads, and say how far it is from what the way means."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..errors import UsageError, unknown_name
from ..folders import try_place, whole_folder, write_synced, writing
from ..inputs import json_text
from ..merge_ways import WAYS
from ..paths import expanded
from ..progress import Progress
from ..workloads.merging import lines
from ..workloads.peft_folder import LoraModule, write_files
from ..workloads.pool_merging import Merge, MergedMatrix, absences, check, merged
from ..workloads.pools import Pool, load_pool

if TYPE_CHECKING:
    from ..workloads.models import Backbone

SCHEMA = "edge-adapt/pool-merge/1"
RECORD_FILE = "merge.json"
_KIND = "matrices"


@dataclass(frozen=True)
class MergeConfig:
    """What is merged, and how: see `workloads.pool_merging`.

    pool: folders of adapters. how: a name of `WAYS`. model: the adapters' names are matched to its linears, and `lines`
    (alpha, beta of LiNeS) counts its blocks; None: the adapters are taken as they are.
    """

    pool: tuple[str, ...]
    how: str = "task-arithmetic"
    weights: tuple[float, ...] = ()
    density: float | None = None
    gamma: float | None = None
    rank: int | None = None
    seed: int | None = None
    lines: tuple[float, float] | None = None
    model: str | None = None


def merge_pool(config: MergeConfig, out: str | Path, progress: Progress | None = None) -> dict[str, Any]:
    """Write one adapter into the new folder `out`; returns the record that lies in it as `merge.json`.

    Raises:
        UsageError: `out` is there already, the pool cannot be loaded, or the merge makes no sense.
        EdgeAdaptError: the folder cannot be written.
    """
    progress = progress or Progress()
    if config.how not in WAYS:
        raise UsageError(unknown_name("way to merge", config.how, WAYS))
    if config.lines and config.model is None:
        raise UsageError("LiNeS scales by the place of a block among all of the model: give the model with --model")
    if config.lines and not all(map(math.isfinite, config.lines)):
        raise UsageError(f"--lines takes two finite numbers; got {config.lines[0]} and {config.lines[1]}")
    out = expanded(out)
    require_new(out)
    backbone = None
    if config.model is not None:
        from ..workloads.models import load_backbone

        progress.stage("loading the model")
        backbone = load_backbone(config.model)
    pool = load_pool(list(config.pool), backbone)
    merge = Merge(
        WAYS[config.how], config.weights, config.density, config.gamma, config.rank, config.seed,
        _factors(config.lines, backbone, pool.target_names),
    )  # fmt: skip
    check(merge, pool)
    progress.start({_KIND: (len(pool.target_names), None)})
    progress.stage(f"merging by {config.how}")
    module, matrices = merged(merge, pool, out.name, lambda: progress.advance(1, _KIND))
    record = _record(config, merge, pool, module, matrices)
    _write(out, module, record)
    return record


def require_new(out: Path) -> None:
    """Raise for a folder that is there, or that cannot be made: before any work."""
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} is there already; give another name with --out")
    with writing(out):
        try_place(out)


def _factors(
    given: tuple[float, float] | None, backbone: "Backbone | None", linears: Sequence[str]
) -> Mapping[str, float]:
    """LiNeS's factor of each linear."""
    if given is None:
        return {}
    assert backbone is not None
    shape = backbone.shape
    if len(shape.blocks) < 2:
        raise UsageError(f"LiNeS scales by depth, and the model {backbone.name!r} has one block; leave --lines out")
    factors = lines(*given, len(shape.blocks))
    return {linear: float(factors[shape.block_of(linear)]) for linear in linears}


def _record(
    config: MergeConfig, merge: Merge, pool: Pool, module: LoraModule, matrices: Sequence[MergedMatrix]
) -> dict[str, Any]:
    way, worst = merge.way, max(matrices, key=lambda matrix: matrix.error)
    weights = merge.weights_for(pool.modules)
    return {
        "schema": SCHEMA,
        "version": __version__,
        "pool": pool.path,
        "base_model": module.base_model,
        "base_fingerprint": module.base_fingerprint,
        "how": way.name,
        "merges": way.of,
        "density": None if way.cut == "nothing" else merge.density_used,
        "gamma": merge.gamma_used if way.cut == "crumbs" else None,
        "seed": merge.seed_used if way.cut == "random" else None,
        "lines": None if config.lines is None else {"alpha": config.lines[0], "beta": config.lines[1]},
        "modules": [
            {"name": one.name, "weight": weight, "rank": one.rank, "scale": one.scale}
            for one, weight in zip(pool.modules, weights, strict=True)
        ],
        "rank": module.rank,
        "weights": sum(matrix.size for part in (module.a, module.b) for matrix in part.values()),
        "merge_error": {
            "mean": sum(matrix.error for matrix in matrices) / len(matrices),
            "largest": worst.error,
            "largest_at": worst.linear,
        },
        "matrices": [
            {"linear": one.linear, "rank": one.rank, "update_norm": one.norm, "merge_error": one.error}
            for one in matrices
        ],
        "messages": [*pool.messages, *absences(pool)],
    }


def _write(out: Path, module: LoraModule, record: Mapping[str, Any]) -> None:
    with writing(out), whole_folder(out) as folder:
        write_files(folder, module)
        write_synced(folder / RECORD_FILE, json_text(record, indent=2) + "\n")
