"""A report says of which methods nobody has searched for the recipe."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from edge_adapt.methods import METHODS, get_method
from edge_adapt.studies.method_settings import shipped
from edge_adapt.studies.report import told_of_recipes


def bench(kind, *methods):
    return SimpleNamespace(task=SimpleNamespace(kind=kind), variants=[SimpleNamespace(method=m) for m in methods])


@pytest.fixture
def unsearched(monkeypatch):
    monkeypatch.setattr(type(METHODS["vera"]), "searched", "")
    return get_method("vera")


def test_methods_without_a_search_are_named_once(unsearched):
    (note,) = told_of_recipes(bench("text", get_method("lora"), unsearched, unsearched, get_method("frozen")))
    assert note.startswith("vera: nobody has searched for a recipe for texts yet")


def test_nothing_is_said_where_all_were_searched_or_nothing_is_trained():
    assert told_of_recipes(bench("text", get_method("lora"), get_method("frozen"), get_method("pool"))) == []


def test_a_recipe_of_ones_own_is_not_the_shipped_one(unsearched):
    own = replace(unsearched, recipe=replace(unsearched.recipe, epochs=3))
    assert told_of_recipes(bench("text", own)) == []


def test_images_have_recipes_of_their_own():
    assert told_of_recipes(bench("image", shipped("lora", True), shipped("vpt", True))) == []
    (note,) = told_of_recipes(bench("image", shipped("bitfit", True)))
    assert "recipe for images" in note
