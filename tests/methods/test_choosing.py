"""docs/choosing.md: its tables are what the code says, and what they say is right."""

from pathlib import Path

import pytest
from edge_adapt.methods import METHODS
from edge_adapt.methods.choosing import filled, tables

PAGE = Path(__file__).parents[2] / "docs" / "choosing.md"


def test_the_page_is_in_step():
    text = PAGE.read_text(encoding="utf-8")
    assert filled(text) == text, "run: python -m edge_adapt.methods.choosing docs/choosing.md"


def test_every_method_that_trains_stands_in_a_table_for_each_place():
    rows = [row for table in tables().values() for row in table.split("\n")[2:]]
    for name, method in METHODS.items():
        mine = [row for row in rows if row.startswith(f"| [{name}](")]
        assert len(mine) == (len(method.placements) if method.recipe.learning_rates else 0)


def test_rows_are_what_can_be_counted_by_hand():
    rows = tables()
    (probe,) = [row for row in rows["none-forward"].split("\n") if "[probe]" in row]
    cells = [cell.strip() for cell in probe.strip("|").split("|")]
    # A head of 2 x 384 + 2 numbers, with the two moments of AdamW, in float32; nothing else is trained or kept.
    assert cells[2:] == ["0", "0", f"{770 * 3 * 4 / 1000:.1f}", "0", "1.00 x", "none", "yes"]
    (lora,) = [row for row in rows["task-through"].split("\n") if "[lora]" in row]
    cells = [cell.strip() for cell in lora.strip("|").split("|")]
    # Rank 16 beside query and value of six blocks of width 384.
    assert cells[2] == cells[3] == f"{6 * 2 * 2 * 16 * 384:,}"
    prompts = [cell.strip() for cell in next(r for r in rows["none-through"].split("\n") if "[prompt-" in r).split("|")]
    assert prompts[7] == f"{(64 + 8) / 64:.2f} x"


def test_a_page_without_a_table_is_refused():
    with pytest.raises(ValueError, match="the page has the tables"):
        filled("# Which method?\n")
