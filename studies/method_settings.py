"""Options of methods by name: `--set METHOD.OPTION=VALUE`, `METHOD.recipe.OPTION=VALUE`, and `recipe.OPTION=VALUE` for
all methods. No torch.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..devices import Chip
from ..errors import UsageError, unknown_name
from ..methods import METHODS, Method, get_method
from ..methods.formats import FORMATS
from ..methods.recipes import KEYS, Recipe, belongs_to, with_optimiser
from ..methods.regularisers import L1
from ..yamlfile import leading_zero

RECIPE, RATES = "recipe.", "recipe.learning_rates"


def is_of_method(key: str) -> bool:
    """Whether a setting is for a method, or for all of them, and not for the chip."""
    return key.startswith(RECIPE) or key.split(".", 1)[0] in METHODS


class MethodSettings:
    """All settings of a run, by method. `recipe.OPTION` is for every method; one of its own comes before that.

    Raises `UsageError` for those that a method does not have, chosen or not.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._by_method: dict[str, dict[str, str]] = {}
        self._for_all = {key: text for key, text in settings.items() if key.startswith(RECIPE)}
        for key, value in settings.items():
            if key not in self._for_all:
                name, _, option = key.partition(".")
                self._by_method.setdefault(name, {})[option] = value
        for key in self._for_all:
            if key.startswith(f"{RATES}."):
                raise UsageError(f"{key}: groups and their rates are a method's own; set METHOD.{key}")
        for name, options in self._by_method.items():  # a typing error is an error
            with_settings(get_method(name), self._for_all | options)

    def method(self, name: str, images: bool = False) -> Method:
        """A method as set; `images`: from its recipe for images.

        One that is the start of another has that one's options, but for the recipe.
        """
        method = shipped(name, images)
        shared = self._by_method.get(method.untrained, {}) if method.untrained else {}
        shared = {key: text for key, text in shared.items() if not key.startswith(RECIPE)}
        return with_settings(method, self._for_all | shared | self._by_method.get(method.name, {}))


def shipped(name: str, images: bool) -> Method:
    """A registered method with its recipe for texts, or for images."""
    return get_method(name).image_form() if images else get_method(name)


def require_readable(methods: Iterable[Method]) -> None:
    """Raise `UsageError` for a recipe that asks of cells what they cannot do."""
    for method in methods:
        if why := method.recipe.optimiser.needs_exact_reads:
            raise UsageError(f"recipe.optimiser of {method.name}: {why}")


def require_numbers(recipes: Iterable[tuple[str, Recipe]], chip: Chip, simulated: bool) -> None:
    """Raise `UsageError` for a format of numbers that the chip's digital unit does not have, or that is not simulated;
    recipes by the name of their method.
    """
    for name, recipe in recipes:
        form = recipe.format
        if getattr(chip.periphery, form.energy) is None:
            key = form.energy.removesuffix("_mac_energy_joules")
            raise UsageError(
                f"{name} computes in {form.name}, and what a multiply-add in it takes is unknown for device "
                f"{chip.name!r}: give it with --set digital.{key}_mac_energy=..., or leave recipe.numbers out"
            )
        if simulated and not form.trains:
            raise UsageError(
                f"what {form.name} does to the answers of {name} is not simulated: edge-adapt count prices it, or "
                f"give recipe.numbers {', '.join(name for name, other in FORMATS.items() if other.trains)}"
            )


def with_settings(method: Method, settings: Mapping[str, str]) -> Method:
    """The method with `OPTION`, `recipe.OPTION`, `recipe.learning_rates.GROUP` and, before these, the strategies
    (`recipe.objective`, `sampler`, `optimiser`, `hooks`) replaced by parsed values.
    """
    recipe, options = method.recipe, dict(settings)
    for kind, key in KEYS.items():
        chosen = options.pop(RECIPE + key, None)
        if chosen is not None and kind == "optimiser":
            recipe = with_optimiser(recipe, chosen, method.forward_only)
        elif chosen is not None:
            recipe = recipe.with_strategy(kind, chosen)
    for key in [key for key in options if key.startswith(RECIPE)]:
        recipe = _recipe_with(method, recipe, key.removeprefix(RECIPE), options.pop(key))
    changed: Method = dataclasses.replace(method, recipe=recipe)
    for key, text in options.items():
        changed = _replace(changed, key, text, "option", f"of {method.name}")
    return changed


def _recipe_with(method: Method, recipe: Recipe, option: str, text: str) -> Recipe:
    """The recipe of a method with one option replaced."""
    if option.startswith("learning_rates."):
        group = option.removeprefix("learning_rates.")
        if group not in recipe.learning_rates:
            raise UsageError(unknown_name("learning rate", group, recipe.learning_rates, f"of {method.name}"))
        rates = dict(recipe.learning_rates) | {group: _parse(text, 0.0, RECIPE + option)}
        return dataclasses.replace(recipe, learning_rates=rates)
    known, weighs = recipe.options, L1.name in {regulariser.name for regulariser in method.regularisers}
    if option == L1.name and not weighs:
        raise UsageError(f"recipe.l1 of {method.name}: this method has no coefficients that it could weigh")
    if option not in known:
        names = [name for name in (*known, *KEYS.values()) if weighs or name != L1.name]
        raise UsageError(unknown_name("recipe option", option, names, f"of {method.name}") + belongs_to(option))
    return recipe.with_options(**{option: _parse(text, known[option], option)})


def _replace(thing: Any, key: str, text: str, kind: str, where: str = "") -> Any:
    names = [f.name for f in dataclasses.fields(thing) if isinstance(getattr(thing, f.name), (bool, int, float, str))]
    if key not in names:
        raise UsageError(unknown_name(kind, key, names, where))
    return dataclasses.replace(thing, **{key: _parse(text, getattr(thing, key), key)})


def _parse(text: str, like: Any, key: str) -> Any:
    if isinstance(like, str):
        return text
    if isinstance(like, bool):
        if text.lower() in ("true", "yes", "on", "1"):
            return True
        if text.lower() in ("false", "no", "off", "0"):
            return False
        raise UsageError(f"{key} is on or off; got {text!r}")
    if doubt := leading_zero(text):
        raise UsageError(f"{key}: {doubt}; write it without")
    try:
        value = type(like)(text)
        if math.isfinite(value):
            return value
        raise ValueError
    except ValueError:
        kind = "a whole number" if isinstance(like, int) else "a number"
        raise UsageError(f"{key} takes {kind}; got {text!r}") from None
