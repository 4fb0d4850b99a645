"""The count of a model of which no machine here could hold the weights."""

from edge_adapt.reports.explain import explain
from edge_adapt.reports.records import typed
from edge_adapt.studies.count import count
from edge_adapt.studies.count_config import CountConfig


def test_a_model_of_llamas_size():
    report = count(CountConfig(model="llama-3-70b"))
    weights = 80 * (2 * 8192**2 + 2 * 1024 * 8192 + 3 * 28672 * 8192)
    assert report["model"]["weights_in_cells"] == weights
    assert report["programming"]["backbone"]["cells"] == 2 * weights
    # An array holds 128 x 64 weights; every matrix of this model fills its arrays.
    frozen = next(r for r in report["results"] if r["method"] == "frozen")
    happened = frozen["inference_event_counts"]
    assert happened["read_conversions"] == 64 * 7 * weights / 128
    assert happened["word_line_drives"] == 64 * 7 * weights / 64
    assert happened["digital_macs"] == 2 * 80 * 8192 * 64**2 + 2 * 8192
    assert frozen["inference_time_seconds"] < frozen["inference_time_sequential_seconds"]
    assert frozen["inference_interval_seconds"] < frozen["inference_time_seconds"]
    pool = 80 * 6 * 16 * (2 * 8192 + 8192 + 1024)
    assert report["programming"]["pool"]["cells"] == 2 * pool
    for total in ("adaptation_energy_joules", "inference_time_seconds", "write_energy_joules"):
        for record in typed(report).results:
            explain(typed(report), total, record)  # the products add up, or it raises
    explain(typed(report), "programming_energy_joules")
    explain(typed(report), "area_square_meters")
