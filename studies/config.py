"""What a simulation is asked to do: one frozen object, from defaults, a YAML file, and the command line."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..defaults import DEFAULT_METHODS, DEFAULT_READAPT, DEFAULT_SHOTS, DEFAULT_TEST_EXAMPLES
from ..errors import UsageError, unknown_name
from ..option_types import kinds_of
from ..options_file import read_options, typed
from ..runtime.examples import Reading

__all__ = ["DEFAULT_METHODS", "SimulateConfig", "parse_age", "parse_settings", "read_config"]

FIDELITIES = ("fast", "bitserial", "ideal", "count")
TRAINERS = ("torch", "onnxruntime")
CHIPS = ("each-run", "one")
UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "y": 31557600}


@dataclass(frozen=True)
class SimulateConfig:
    """Options of `edge-adapt simulate`; the same names stand in a `--config` file (with `-` or `_`).

    device, model, task, pool: a shipped name or a path (pool: default the shipped pool of the model). method: names, or
    `NAME:PLACEMENT`; an empty tuple means the default ones, `all` every registered method. shots: labelled
    examples, one run each; a fifth of them is held back for validation. seeds: how many runs, numbered from
    `first_seed`: each has a draw of examples, a training, test examples (where there are enough) and a chip of its own.
    chips: `each-run`, the chip of a run is number `chip_seed` + its seed; `one`, all runs share number `chip_seed`.
    test_examples, max_tokens: size of the evaluation of a run. ages: when the chip is tested again after programming
    (`1h`, `30d`); at the last age it is adapted again. check_pool: folds of the cross-validation, over all shots, that
    says whether the pool fits; 0 for the held-back fifth alone, which costs nothing more.
    image_size: pixels on a side of the images that a vision model is given; 0: what it usually is given.
    settings: `--set` pairs, `chip.SECTION.KEY` for the device, `METHOD.OPTION` or `METHOD.recipe.OPTION` for a
        method, `recipe.OPTION` for all.
    readapt: names of the methods that adapt again at the last age, `all` or `none`; an empty tuple means those of
    `DEFAULT_READAPT` where the methods are the default ones, else all. readapt_share: epochs of the second adaptation,
    as a share of the first one's. fidelity: `fast`; `bitserial`, with noise and a conversion for each digit of an
    input; or `ideal`, for a chip without any effect.
    text_column, label_column, encoding, on_error: how a user's own file is read (`runtime.examples.Reading`).
    trainer: `torch`, or `onnxruntime`: methods whose state is digital are trained with exact
    weights in a bundle, as on a device (training on the chip, which reads cells at every step, is torch's).
    """

    device: str = "reram"
    model: str = "minilm"
    task: str = "movie"
    pool: str | None = None
    method: tuple[str, ...] = ()
    shots: tuple[int, ...] = (DEFAULT_SHOTS,)
    seeds: int = 2
    first_seed: int = 0
    chip_seed: int = 0
    chips: str = "each-run"
    test_examples: int = DEFAULT_TEST_EXAMPLES
    max_tokens: int = 64
    image_size: int = 0
    ages: tuple[str, ...] = ("30d",)
    readapt: tuple[str, ...] = ()
    readapt_share: float = 0.5
    check_pool: int = 0
    fidelity: str = "fast"
    trainer: str = "torch"
    settings: tuple[tuple[str, str], ...] = ()
    text_column: str = "text"
    label_column: str = "label"
    encoding: str = ""
    on_error: str = "fail"

    def __post_init__(self) -> None:
        for name in ("seeds", "test_examples"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name.replace('_', '-')} must be at least 1; got {getattr(self, name)}")
        for name in ("first_seed", "chip_seed", "image_size"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name.replace('_', '-')} must not be negative; got {getattr(self, name)}")
        if not self.shots or min(self.shots) < 2:
            raise UsageError(f"shots must be at least 2; got {', '.join(map(str, self.shots)) or 'none'}")
        # Each once: the same number of shots twice would be trained twice, and no report can tell the two apart.
        object.__setattr__(self, "shots", tuple(dict.fromkeys(self.shots)))
        if self.max_tokens < 4:
            raise UsageError(f"max-tokens must be at least 4; got {self.max_tokens}")
        choices = (
            ("fidelity", self.fidelity, FIDELITIES),
            ("trainer", self.trainer, TRAINERS),
            ("kind of chips", self.chips, CHIPS),
        )
        for what, given, allowed in choices:
            if given not in allowed:
                raise UsageError(unknown_name(what, given, allowed))
        if self.fidelity == "count":
            raise UsageError("fidelity count simulates nothing: take `edge-adapt count`, or fast, bitserial or ideal")
        self.reading()
        if not self.age_seconds:
            raise UsageError("ages must name at least one, for example 30d; got none")
        if self.check_pool and not 2 <= self.check_pool <= min(self.shots) // 2:
            raise UsageError(
                f"check-pool takes a number of folds from 2 to {min(self.shots) // 2}, half the shots; got "
                f"{self.check_pool}"
            )
        if not 0 <= self.readapt_share <= 1:
            raise UsageError(f"readapt-share must lie in 0..1; got {self.readapt_share}")

    def reading(self) -> Reading:
        """How a user's own file is read. Raises `UsageError` for options that cannot be."""
        return Reading(self.text_column, self.label_column, self.encoding or None, self.on_error)

    def adapts_again(self, method: str) -> bool:
        """Whether a method that runs adapts again at the last age."""
        chosen = self.readapt or (DEFAULT_READAPT if self.method == () else ("all",))
        return "all" in chosen or method in chosen

    @property
    def seed_numbers(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def age_seconds(self) -> tuple[int, ...]:
        """The ages in seconds, rising, each once."""
        return tuple(sorted({parse_age(age) for age in self.ages}))

    def chip_of(self, seed: int) -> int:
        """Number of the chip that a run is on."""
        return self.chip_seed + (seed if self.chips == "each-run" else 0)

    @property
    def chip_numbers(self) -> dict[int, list[int]]:
        """The chips of all runs, in their order, each with the seeds of its runs."""
        found: dict[int, list[int]] = {}
        for seed in self.seed_numbers:
            found.setdefault(self.chip_of(seed), []).append(seed)
        return found

    def chip_settings(self) -> dict[str, str]:
        """The `--set` pairs that belong to the device."""
        return {key: value for key, value in self.settings if not self._of_method(key)}

    def method_settings(self) -> dict[str, str]:
        """The `--set` pairs that belong to a method."""
        return {key: value for key, value in self.settings if self._of_method(key)}

    @staticmethod
    def _of_method(key: str) -> bool:
        from .method_settings import is_of_method

        return is_of_method(key)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the report."""
        return dataclasses.asdict(self) | {
            "method": list(self.method), "shots": list(self.shots), "ages": list(self.ages),
            "readapt": list(self.readapt), "settings": dict(self.settings),
        }  # fmt: skip

    def digest(self) -> str:
        """A short hash of all options (not of the files they name)."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:16]


def read_config(path: Path) -> dict[str, Any]:
    """The options in a YAML file (`out` and `jobs` too), with their types checked. UsageError names file and line."""
    return typed(read_options(path), kinds_of(SimulateConfig, out=Path, jobs=int))


def parse_age(text: str) -> int:
    """Seconds of an age like `90s`, `10min`, `1h` or `30d`. UsageError for anything else, and for none at all.

    >>> parse_age("1h"), parse_age("30d"), parse_age("90 s")
    (3600, 2592000, 90)
    """
    number = text.strip().rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text.strip()[len(number) :].strip()
    try:
        seconds = float(number) * UNITS[unit]
        if seconds == int(seconds) and 0 < seconds < 1e11:
            return int(seconds)
    except (ValueError, KeyError, OverflowError):
        pass
    raise UsageError(
        f"ages are whole seconds, with a unit: 90s, 10min, 1h, 1d, 30d; got {text!r} ({', '.join(UNITS)} are known)"
    )


def parse_settings(pairs: list[str]) -> tuple[tuple[str, str], ...]:
    """`KEY=VALUE` strings of the command line as pairs; UsageError for one without `=`."""
    parsed = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise UsageError(f"--set takes KEY=VALUE, for example --set chip.adc.bits=6; got {pair!r}")
        parsed.append((key.strip(), value.strip()))
    return tuple(parsed)
