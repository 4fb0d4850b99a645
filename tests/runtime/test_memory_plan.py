"""The memory plan: the line through exact measurements is found again, and a budget cuts batches to fit."""

from dataclasses import replace
from pathlib import Path

import pytest
from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.runtime import Session
from edge_adapt.runtime.manifest import read_manifest, write_manifest
from edge_adapt.runtime.memory import MemoryModel, base_bytes, calibrate, fit, measured, shapes_to_measure
from edge_adapt.runtime.store import create_state
from hypothesis import given
from hypothesis import strategies as st

SHAPES = shapes_to_measure(256)
positive = st.floats(1.0, 1e6)


@given(positive, positive, positive)
def test_the_line_is_found_again(fixed: float, per_token: float, per_pair: float) -> None:
    exact = MemoryModel(1e3 * fixed, per_token, per_pair / 100)
    found = fit(SHAPES, [exact.beyond_base(*shape) for shape in SHAPES])
    for shape in [*SHAPES, (32, 100)]:
        assert found.beyond_base(*shape) == pytest.approx(exact.beyond_base(*shape), rel=1e-6)


@given(st.lists(positive, min_size=len(SHAPES), max_size=len(SHAPES)))
def test_no_coefficient_is_negative(beyond: list[float]) -> None:
    found = fit(SHAPES, beyond)
    assert min(found.fixed, found.per_token, found.per_pair) >= 0


def test_a_budget_is_kept_by_parts() -> None:
    model = MemoryModel(100e6, 50e3, 100.0)
    assert model.parts(16, 64, 10**9, base=50_000_000) == 1
    one = model.peak(1, 64, 50_000_000)
    assert model.parts(16, 64, one, base=50_000_000) == 16
    for part in range(1, 17):  # a budget that just holds so many examples at a time
        parts = model.parts(16, 64, model.peak(part, 64, 50_000_000), base=50_000_000)
        assert -(-16 // parts) <= part
        assert parts == 1 or -(-16 // (parts - 1)) > part
    with pytest.raises(UsageError, match=r"budget of 100 MB is too small: one text of 64 tokens .* needs 154 MB"):
        model.parts(16, 64, 10**8, base=50_000_000)


def test_calibrated_figures_come_near_a_measurement(bundle: Path, texts) -> None:
    plan = calibrate(bundle, 12)
    manifest = write_manifest(bundle, replace(read_manifest(bundle), plan=plan))
    create_state(bundle, manifest)
    model = MemoryModel.of(manifest.plan)
    peaks = measured(bundle, 4, 10)
    assert model.peak(4, 10, peaks["base_bytes"]) == pytest.approx(peaks["peak_bytes"], rel=0.2)
    assert 10e6 < base_bytes() < 2e9


def test_without_figures_and_without_a_bundle(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no memory figures"):
        MemoryModel.of(Session(bundle).manifest.plan)
    with pytest.raises(EdgeAdaptError, match=r"measuring the memory of .* failed: .*is no bundle"):
        measured(tmp_path, 1, 4)
