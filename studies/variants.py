"""Methods of a study by name, each under one placement of what it trains; no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..methods import METHODS, Method, Placement
from .config import DEFAULT_METHODS
from .method_settings import MethodSettings


@dataclass(frozen=True)
class Variant:
    """A method under one placement of what it trains."""

    method: Method
    placement: Placement

    @property
    def title(self) -> str:
        return f"{self.method.name}/{self.placement}"


def choose_variants(wanted: tuple[str, ...], settings: Mapping[str, str], images: bool = False) -> list[Variant]:
    """Methods and placements: `NAME` is every placement the method offers, `NAME:PLACEMENT` one, `all` every method.

    `images`: with the recipes for images.
    """
    given = MethodSettings(settings)
    variants: list[Variant] = []
    entries = [name for entry in wanted or DEFAULT_METHODS for name in (METHODS if entry == "all" else (entry,))]
    for entry in entries:
        name, _, placement = entry.partition(":")
        method = given.method(name, images)
        chosen = [method.choose_placement(placement.upper())] if placement else list(method.placements)
        variants += [Variant(method, p) for p in chosen if Variant(method, p) not in variants]
    return variants
