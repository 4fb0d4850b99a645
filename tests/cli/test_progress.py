"""Progress: what it says and when, by a clock that only the test turns."""

import io
import re
from collections.abc import Callable

import pytest
from edge_adapt.commands.clock import about, clock_time
from edge_adapt.commands.progress import TerminalProgress
from edge_adapt.studies.progress import Estimate, Progress


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def lived(clock: Clock, estimate: Estimate, work: dict[str, tuple[int, float]]) -> list[tuple[float, float, float]]:
    """(share, left, truly left) after every half unit of work; `work`: kind -> (units, seconds that one takes)."""
    total = sum(units * seconds for units, seconds in work.values())
    began, seen = clock.now, []
    look = lambda: seen.append((estimate.share, estimate.left, began + total - clock.now))
    for kind, (units, seconds) in work.items():
        for _ in range(units):
            clock.now += seconds / 2
            look()
            clock.now += seconds / 2
            estimate.advance(1, kind)
            look()
    return seen


def test_right_expectations_are_right_from_the_beginning(clock):
    estimate, work = Estimate(clock), {"a": (40, 0.5), "b": (10, 8.0)}
    estimate.start(work)
    assert estimate.left == pytest.approx(100.0)
    for share, left, truly in lived(clock, estimate, work):
        assert left == pytest.approx(truly)
        assert share == pytest.approx(1 - truly / 100)


@pytest.mark.parametrize("factor", [0.2, 0.5, 2.0, 6.0])
def test_wrong_expectations_are_corrected(clock, factor):
    """Another processor: everything takes `factor` times what was expected."""
    estimate, work = Estimate(clock), {"a": (40, 0.5), "b": (10, 8.0)}
    estimate.start(work)
    seen = lived(clock, estimate, {kind: (units, factor * seconds) for kind, (units, seconds) in work.items()})
    for _, left, truly in [entry for entry in seen if entry[2] <= 0.7 * 100 * factor]:
        assert abs(left - truly) <= 0.35 * 100 * factor
    for _, left, truly in [entry for entry in seen if entry[2] <= 0.4 * 100 * factor]:
        assert abs(left - truly) <= 0.15 * 100 * factor
    assert seen[-1][1] == pytest.approx(0.0, abs=1e-9)


def test_one_kind_alone_that_takes_longer_is_found_out(clock):
    estimate = Estimate(clock)
    estimate.start({"a": (20, 1.0), "b": (20, 1.0), "c": (20, 1.0)})
    seen = lived(clock, estimate, {"a": (20, 1.0), "b": (20, 5.0), "c": (20, 1.0)})
    share = [entry[0] for entry in seen]
    assert share == sorted(share), "never backwards"
    at_the_end_of_b = next(entry for entry in seen if entry[2] <= 20.0)
    assert at_the_end_of_b[1] < 60


def test_the_share_never_goes_backwards_and_time_goes_on_between_news(clock):
    estimate = Estimate(clock)
    estimate.start({"": (2, 10.0)})
    shares, lefts = [], []
    for _ in range(100):
        clock.now += 1.0
        shares.append(estimate.share)
        lefts.append(estimate.left)
    assert shares == sorted(shares) and shares[-1] < 1.0
    assert lefts[:18] == pytest.approx([19 - n for n in range(18)])
    assert lefts[-1] > 0, "something is left while something is not done"
    estimate.advance(2)
    assert estimate.left == 0.0 and estimate.share == 1.0


def test_a_stage_that_takes_much_longer_is_said_to(clock):
    """On a busy machine; before, "about 0:05 left" stood there for minutes at 93 %."""
    stream = io.StringIO()
    progress = TerminalProgress(stream=stream, clock=clock, terminal=True, width=60, ticking=False)
    with progress:
        progress.start({"load": (1, 2.0), "trace": (1, 30.0), "check": (1, 10.0)})
        clock.now += 2.0
        progress.advance(1, "load")
        progress.stage("tracing")
        for seconds in range(1, 121):
            clock.now += 1.0
            progress.tick()
            line = last_line(stream)
            assert ("longer than expected" in line) == (seconds > 45), line
            share = int(re.search(r"(\d+) %", line)[1])
            assert share <= 80, "what follows will be late, too"
        progress.advance(1, "trace")
        progress.stage("checking")
        assert "about 0:" in last_line(stream)


def test_nothing_is_claimed_while_nothing_is_known(clock):
    estimate = Estimate(clock)
    assert estimate.left is None and estimate.share is None
    estimate.start(4)
    clock.now += 3.0
    assert estimate.left is None
    estimate.advance()
    assert estimate.left == pytest.approx(9.0)
    assert estimate.share == pytest.approx(0.25)


def test_two_processes_that_share_the_work(clock):
    """Their reports interleave; the times between them add up to the time that has passed."""
    estimate = Estimate(clock)
    estimate.start({"a": (10, 4.0), "b": (10, 4.0)})  # half of 8 s each, as two processes do them at once
    for _ in range(5):
        clock.now += 8.0
        estimate.advance(1, "a")
        estimate.advance(1, "b")
    assert estimate.left == pytest.approx(40.0, rel=0.05)


def test_what_follows_the_announced_work_is_part_of_what_is_left(clock):
    """Before, "about 0:00 left" stood there for as long as the report was written."""
    stream = io.StringIO()
    progress = TerminalProgress(stream=stream, clock=clock, terminal=True, width=60, ticking=False, afterwards=20.0)
    with progress:
        progress.start({"train": (10, 4.0)})
        for _ in range(10):
            clock.now += 4.0
            progress.advance(1, "train")
        progress.stage("writing the report")
        assert "66 %, elapsed 0:40, about 0:20 left: writing" in last_line(stream)


def shown(clock: Clock, terminal: bool, width: int = 60) -> tuple[TerminalProgress, io.StringIO]:
    stream = io.StringIO()
    return TerminalProgress("importing torch", stream=stream, clock=clock, terminal=terminal, width=width,
                            ticking=False), stream  # fmt: skip


def last_line(stream: io.StringIO) -> str:
    return stream.getvalue().rsplit("\r\033[K", 1)[-1]


def test_a_terminal_of_60_columns_shows_share_elapsed_left_and_stage(clock):
    progress, stream = shown(clock, terminal=True)
    with progress:
        assert "importing torch" in stream.getvalue(), "at once"
        progress.start({"train": (10, 20.0)})
        clock.now += 62.0
        progress.advance(3, "train")
        progress.stage("100 shots, seed 0: lora/DIGITAL on the chip")
        line = last_line(stream)
        assert len(line) < 60
        assert re.search(r"\d+ %, elapsed 1:02, about \d+:\d\d left: 100 shots", line)
        assert line.endswith("...")
        progress.say("something that stays")
        assert "\r\033[Kedge-adapt: something that stays\n" in stream.getvalue()
        progress.tick()
    assert stream.getvalue().endswith("\r\033[K"), "nothing of it is left"


def test_a_pipe_gets_a_plain_line_at_once_and_then_every_ten_seconds(clock):
    progress, stream = shown(clock, terminal=False)
    with progress:
        assert stream.getvalue() == "[elapsed 0:00] importing torch\n"
        progress.start({"train": (10, 20.0)})
        for _ in range(100):
            clock.now += 0.5
            progress.stage("training")
            progress.tick()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 6
    assert lines[1] == "[ 5 %, elapsed 0:10, about 3:10 left] training"
    assert "\033" not in stream.getvalue() and "\r" not in stream.getvalue()


def test_what_others_print_takes_the_place_of_the_line(clock, monkeypatch):
    import sys

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with TerminalProgress("loading", clock=clock, terminal=True, width=60, ticking=False):
        print("a warning", file=sys.stderr)
        written = sys.stderr.getvalue()
    assert "\r\033[Ka warning\n" in written
    assert type(sys.stderr) is io.StringIO


def test_the_thread_ends_with_it():
    import threading

    before = threading.active_count()
    with TerminalProgress(stream=io.StringIO(), terminal=False):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_a_stream_that_is_gone_does_not_end_the_run(clock):
    progress, stream = shown(clock, terminal=False)
    stream.close()
    with progress:
        progress.stage("training")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (62, "1:02"), (3599, "59:59"), (3661, "1:01:01")]
)
def test_times(seconds, text):
    assert clock_time(seconds) == text


def test_what_is_not_known_well_is_said_roughly():
    assert [about(s) for s in (0, 1, 29, 31, 97, 601)] == ["0:00", "0:05", "0:30", "0:40", "1:40", "11:00"]


def test_a_silent_one_takes_the_same_calls():
    silent = Progress()
    calls: list[Callable[[], None]] = [lambda: silent.start({"a": (1, None)}), lambda: silent.advance(1, "a"),
                                       lambda: silent.stage("x"), lambda: silent.say("y")]  # fmt: skip
    assert [call() for call in calls] == [None] * 4


def test_what_waits_for_the_work_is_said_when_it_begins_and_once():
    """ "The report will be replaced" is no news where a wrong input ends the run first."""
    stream = io.StringIO()
    with TerminalProgress("importing", stream=stream, ticking=False) as progress:
        progress.say_at_start("it will be replaced")
        progress.stage("loading model and data")
        assert "replaced" not in stream.getvalue()
        progress.start(3)
        progress.start(3)
        progress.say_held()
    assert stream.getvalue().count("edge-adapt: it will be replaced\n") == 1
