"""The table of the effects: what it says of keys, presets and switches is so, and the page has it."""

from pathlib import Path

import numpy as np
import pytest
from edge_adapt import load_chip
from edge_adapt.simulator import program
from edge_adapt.simulator.effects import EFFECTS, READ, TIME, WRITE, Acting, messages, presets_of, table

DOCS = Path(__file__).parents[2] / "docs"
SWITCHED = [effect for effect in EFFECTS if effect.off]


def ids(effect):
    return effect.name


def experiment(chip):
    """Everything that a little study of the chip sees: written, rewritten, aged and read."""
    rng = np.random.default_rng(3)
    weight = rng.uniform(0.3, 1.0, (20, 140))
    model = program(chip, {"w": weight}, rng)
    for turn in range(4):
        model.rewrite("w", weight * (-1) ** (turn + 1))
    model.matvec("w", weight[:8])
    model.set_time(86400.0)
    x = rng.standard_normal((8, 140))
    matrix = model.matrix("w")
    cells = matrix.conductance_siemens()
    return [cells, matrix.writes, model.write_log.pulses, model.matvec("w", x)]


@pytest.mark.parametrize("effect", EFFECTS, ids=ids)
def test_a_shipped_preset_uses_it_or_it_says_how_to_switch_it_on(effect):
    assert bool(presets_of(effect)) != bool(effect.example)


@pytest.mark.parametrize("effect", SWITCHED, ids=ids)
def test_it_can_be_switched_off_alone_and_makes_a_difference(effect):
    preset = (*presets_of(effect), "reram")[0]
    wearing = {"endurance.writes": "3", "endurance.writes_min": "null"} if "endurance.spread" in effect.keys else {}
    wearing |= effect.example
    on, off = load_chip(preset, wearing), load_chip(preset, wearing | dict(effect.off))
    assert effect.on(on) and not effect.on(off)
    others = [other for other in EFFECTS if other is not effect and other.on(on) != other.on(off)]
    # The exponent has no spread without drift: the one effect that needs another.
    assert [other.name for other in others] in ([], ["spread of the drift exponent"])
    found, without = experiment(on), experiment(off)
    assert any(a.shape != b.shape or not np.array_equal(a, b) for a, b in zip(found, without, strict=True))
    again = experiment(on)
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


@pytest.mark.parametrize("effect", EFFECTS, ids=ids)
def test_it_has_a_picture_and_a_place_of_its_own(effect):
    assert (DOCS / "figures" / f"{effect.figure}.png").is_file()
    assert [other.name for other in EFFECTS if (other.act, other.place) == (effect.act, effect.place)] == [effect.name]


def test_the_kernels_of_effects_have_plain_numpy_beside_them():
    from edge_adapt.simulator import iv_curve, kernels, pulse_kernel, read_kernels, rotation

    found = {effect.reference.__name__ for effect in EFFECTS if effect.reference}
    places = (iv_curve, kernels, pulse_kernel, read_kernels, rotation)
    assert found and all(sum(hasattr(place, name) for place in places) == 1 for name in found)


def test_messages_come_in_the_order_of_the_effects():
    said = messages(load_chip("pcm-hermes", {"technology.temperature": "350 K"}), 1e9)
    assert [sentence.split(":")[0] for sentence in said] == ["temperature 350 K"]
    both = messages(load_chip("reram"), 1e9)
    assert "table ends at" in both[0] and "read disturb" in both[1] and messages(load_chip("reram"), 3600.0) == both[1:]


class Leaking(Acting):
    """A toy: half of what columns add is kept once more, and summed over word lines."""

    def columns(self, held):
        return {"leak": np.float32(0.5) * held.differences(held.seen)}

    def lines(self, held):
        return {"row leak": np.float32(0.5) * held.seen}


@pytest.mark.parametrize("preset", ["reram", "reram-wires"])
def test_what_is_kept_of_some_cells_is_what_is_kept_of_all(preset, monkeypatch):
    """One function derives what reads use of all cells, of some weights, and of the arrays that these lie in."""
    monkeypatch.setattr("edge_adapt.simulator.arrays.acting_on", lambda chip, mismatch: (Leaking(),))
    rng = np.random.default_rng(4)
    weight = rng.uniform(-1.0, 1.0, (40, 150))
    model = program(load_chip(preset), {"w": weight}, rng)
    matrix = model.matrix("w")
    names = ("pairs", "row_siemens", "leak", "row leak")
    before = {name: matrix.kept(name).copy() for name in names}
    weight[3:5, 100:140] *= -1
    model.rewrite("w", weight)
    quick = {name: matrix.kept(name).copy() for name in names}
    matrix._cache = {}
    for name in names:
        assert not np.array_equal(quick[name], before[name])
        assert np.allclose(quick[name], matrix.kept(name), rtol=1e-6)
    assert np.allclose(matrix.kept("leak"), 0.5 * matrix.pairs)


def test_the_order_is_write_time_read():
    acts = [effect.act for effect in EFFECTS]
    assert acts == sorted(acts, key=(WRITE, TIME, READ).index)


def test_the_page_has_the_table_and_a_picture_of_every_script():
    page = (DOCS / "simulator.md").read_text(encoding="utf-8")
    assert table() in page, "run: python -m edge_adapt.simulator.effects, and put it into docs/simulator.md"
    pictures = {path.stem for path in (DOCS / "figures").iterdir()}
    pages = [path.read_text(encoding="utf-8") for path in DOCS.glob("*.md")]
    shown = {part.partition(")")[0].partition(".")[0] for page in pages for part in page.split("](figures/")[1:]}
    assert shown == pictures
