"""docs/methods.md is what the code says."""

from pathlib import Path

from edge_adapt.methods import METHODS
from edge_adapt.methods.docs import markdown


def test_page_is_in_step():
    page = Path(__file__).parents[2] / "docs" / "methods.md"
    assert page.read_text() == markdown(), "run: python -m edge_adapt.methods.docs > docs/methods.md"


def test_every_method_is_there():
    text = markdown()
    for name, method in METHODS.items():
        assert f"\n## {name}\n" in text
        assert method.source in text
