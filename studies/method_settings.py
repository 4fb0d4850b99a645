"""Options of methods by name: `--set METHOD.OPTION=VALUE`, `METHOD.recipe.OPTION=VALUE`. No torch."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import UsageError, unknown_name
from ..methods import Method, get_method
from ..methods.recipes import belongs_to, with_optimiser
from ..yamlfile import leading_zero


class MethodSettings:
    """All settings of a run, by method. Raises `UsageError` for those that a method does not have, chosen or not."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._by_method: dict[str, dict[str, str]] = {}
        for key, value in settings.items():
            name, _, option = key.partition(".")
            self._by_method.setdefault(name, {})[option] = value
        for name, options in self._by_method.items():  # a typing error is an error
            with_settings(get_method(name), options)

    def method(self, name: str, images: bool = False) -> Method:
        """A method as set; `images`: from its recipe for images.

        One that is the start of another has that one's options, but for the recipe.
        """
        method = get_method(name).image_form() if images else get_method(name)
        shared = self._by_method.get(method.untrained, {}) if method.untrained else {}
        shared = {key: text for key, text in shared.items() if not key.startswith("recipe.")}
        return with_settings(method, shared | self._by_method.get(method.name, {}))


def require_readable(methods: Iterable[Method]) -> None:
    """Raise `UsageError` for a recipe that asks of cells what they cannot do."""
    for method in methods:
        if getattr(method.recipe, "estimate", "") == "forward-gradient":
            raise UsageError(
                f"recipe.estimate of {method.name}: forward-gradient needs exact reads, and those of cells cannot be "
                "differentiated; take two-sided or one-sided"
            )


def with_settings(method: Method, settings: Mapping[str, str]) -> Method:
    """The method with `OPTION`, `recipe.OPTION`, `recipe.learning_rates.GROUP` and, before these, `recipe.optimiser`
    replaced by parsed values.
    """
    changes: dict[str, Any] = {}
    recipe = method.recipe
    if optimiser := settings.get("recipe.optimiser"):
        recipe = with_optimiser(recipe, optimiser, method.forward_only)
    for key, text in settings.items():
        if key == "recipe.optimiser":
            continue
        if key.startswith("recipe.learning_rates."):
            group = key.removeprefix("recipe.learning_rates.")
            if group not in recipe.learning_rates:
                raise UsageError(unknown_name(f"learning rate of {method.name}", group, recipe.learning_rates))
            rates = dict(recipe.learning_rates) | {group: _parse(text, 0.0, key)}
            recipe = dataclasses.replace(recipe, learning_rates=rates)
        elif key.startswith("recipe."):
            option = key.removeprefix("recipe.")
            recipe = _replace(recipe, option, text, f"recipe option of {method.name}", belongs_to(option))
        else:
            changes[key] = text
    changed: Method = dataclasses.replace(method, recipe=recipe)
    for key, text in changes.items():
        changed = _replace(changed, key, text, f"option of {method.name}")
    return changed


def _replace(thing: Any, key: str, text: str, kind: str, hint: str = "") -> Any:
    names = [f.name for f in dataclasses.fields(thing) if isinstance(getattr(thing, f.name), (bool, int, float, str))]
    if key not in names:
        raise UsageError(unknown_name(kind, key, names) + hint)
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
