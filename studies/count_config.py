"""What a count is asked to do: one frozen object, from defaults, a YAML file, and the command line."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..methods.plan import Size
from ..option_types import kinds_of
from ..options_file import read_options, typed
from .method_settings import is_of_method


@dataclass(frozen=True)
class CountConfig:
    """Options of `edge-adapt count`.

    model: a shape by name, or a YAML file with shapes. method: names, NAME:PLACEMENT, or "all"; empty means the
    default ones. examples: labelled examples of the task, each of `tokens` tokens; epochs: passes over them;
    batch_size: examples of a step (None, for both: what the method's recipe says). rank: of LoRA, VeRA, and of each of
    the `pool_size` modules of the pool (None: the method's own). changed_share: of the weights that a rewrite changes.
    settings: `--set` pairs, of the chip, or `METHOD.OPTION`, `METHOD.recipe.OPTION` and `recipe.OPTION`.
    """

    device: str = "reram"
    model: str = "minilm"
    method: tuple[str, ...] = ()
    examples: int = 80
    tokens: int = 64
    classes: int = 2
    epochs: int | None = None
    batch_size: int | None = None
    rank: int | None = None
    pool_size: int = 6
    changed_share: float = 1.0
    settings: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("examples", "tokens", "classes", "batch_size", "rank", "pool_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UsageError(f"{name.replace('_', '-')} must be at least 1; got {getattr(self, name)}")
        if self.epochs is not None and self.epochs < 0:
            raise UsageError(f"epochs must not be negative; got {self.epochs}")
        if not 0 <= self.changed_share <= 1:
            raise UsageError(f"changed-share must lie in 0..1; got {self.changed_share}")

    @property
    def size(self) -> Size:
        """What the plans depend on."""
        return Size(self.classes, 16 if self.rank is None else self.rank, self.pool_size)

    def method_settings(self) -> dict[str, str]:
        """The settings of methods: `METHOD.OPTION`, `METHOD.recipe.OPTION`, `recipe.OPTION`."""
        return {key: value for key, value in self.settings if is_of_method(key)}

    def chip_settings(self) -> dict[str, str]:
        """The others, of the chip."""
        return {key: value for key, value in self.settings if not is_of_method(key)}

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the report."""
        return dataclasses.asdict(self) | {"method": list(self.method), "settings": dict(self.settings)}

    def digest(self) -> str:
        """A short hash of all options (not of the files they name)."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:16]


def read_count_config(path: Path) -> dict[str, Any]:
    """The options in a YAML file (`out` too), with their types checked. UsageError names the file and the line."""
    return typed(read_options(path), kinds_of(CountConfig, out=Path))
