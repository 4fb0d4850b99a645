"""The choices that a training run is made of: what they share, and the register of all. No torch.

A strategy is one file in the folder of its kind: a frozen dataclass whose fields are its options, with `@register` in
front. The file is found by being there. `recipes.Recipe` holds one of each kind, and any number of hooks.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ...errors import UsageError, unknown_name

if TYPE_CHECKING:
    from ..plan import Plan
    from ..recipes import Recipe

KINDS: Mapping[str, str] = {
    "objective": "objectives", "sampler": "samplers", "optimiser": "optimisers", "hook": "hooks"
}  # fmt: skip
"""Kinds of strategies, and the folder of each."""


@dataclass(frozen=True)
class Strategy:
    """One choice of how to train. Its options are its dataclass fields, each with a default.

    `kind` is one of `KINDS`, `name` what it is chosen by, `source` the paper and its equation. `in_bundles` says
    whether a bundle trains with it on the device; where not, `on_device` may say what can be done there instead.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    source: ClassVar[str] = ""
    in_bundles: ClassVar[bool] = False
    on_device: ClassVar[str] = ""

    @property
    def options(self) -> dict[str, Any]:
        """Options by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def misfit(self, plan: "Plan", recipe: "Recipe") -> str:
        """Why a method of this plan cannot be trained by a recipe with it, as a message; "" where it can."""
        return ""

    @property
    def words(self) -> str:
        """Its name, with those options that are not at their defaults."""
        usual = {field.name: field.default for field in fields(self)}
        other = [f"{name} {value}" for name, value in self.options.items() if value != usual[name]]
        return f"{self.name} ({', '.join(other)})" if other else self.name


_KNOWN: dict[str, dict[str, type[Strategy]]] = {kind: {} for kind in KINDS}
S = TypeVar("S", bound=type[Strategy])


def register(strategy: S) -> S:
    """Make a strategy known by its name. Raises `ValueError` for an unknown kind, or a name that is taken."""
    if strategy.kind not in KINDS:
        raise ValueError(f"{strategy.name} is of an unknown kind {strategy.kind!r}")
    if _KNOWN[strategy.kind].setdefault(strategy.name, strategy) is not strategy:
        raise ValueError(f"{strategy.kind} {strategy.name!r} is already registered")
    return strategy


def known(kind: str) -> Mapping[str, type[Strategy]]:
    """All strategies of a kind by name."""
    folder = importlib.import_module(f".{KINDS[kind]}", __package__)
    for module in pkgutil.iter_modules(folder.__path__):
        importlib.import_module(f".{module.name}", folder.__name__)
    return _KNOWN[kind]


def named(kind: str, name: str) -> Strategy:
    """The strategy of that name, its options at their defaults. Raises `UsageError` for an unknown one."""
    if not known(kind):
        raise UsageError(f"unknown {kind} {name!r}: no {kind} is shipped yet")
    if name not in known(kind):
        raise UsageError(unknown_name(kind, name, known(kind)))
    return known(kind)[name]()
