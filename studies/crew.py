"""Processes that share the parts of a simulation: this one, and as many helpers as are worth it.

A helper is `python -m edge_adapt.studies.crew`: it imports what it will need, gets the configuration on its standard
input, loads the same model, programs the chips that its parts are about (same number, same cells) and does one part
after the other.
Every part runs on one thread wherever it runs: two processes of one thread are nearly twice as fast as one process of
two, whose pools of threads wait for each other at every small product.
"""

import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import IO, Any

from ..errors import EdgeAdaptError, UsageError, out_of_memory
from .chips import Chips
from .config import SimulateConfig
from .executors import Executor, Serial
from .parts import Part
from .progress import Progress
from .threads import one_thread, release
from .workbench import Workbench, load_workbench

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
HELPER_BYTES = 1.5e9  # what a helper may need for a model like MiniLM


def default_jobs() -> int:
    """How many processes this machine has cores and free memory for."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return cores
    return max(1, min(cores, 1 + int(free / HELPER_BYTES - 1)))


def executor(jobs: int, progress: Progress) -> Executor:
    """So many processes of this machine."""
    return Serial(progress) if jobs <= 1 else Crew(jobs - 1, progress)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits meanwhile, and processes that are started never hear it, from their first instruction on: a
    terminal sends it to them too, and while they import their libraries they would print a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Crew:
    """This process and at most `helpers` more, which import their libraries at once; `begin` lets them load what a
    study needs, `run` shares its parts among them.

    Progress of the helpers is passed on as it comes.
    """

    def __init__(self, helpers: int, progress: Progress):
        self._progress = progress
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._threads: list[threading.Thread] = []
        with _interrupts_held():
            self._helpers = [
                subprocess.Popen(
                    [sys.executable, "-m", "edge_adapt.studies.crew"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | ONE_THREAD,
                )
                for _ in range(helpers)
            ]  # fmt: skip

    @property
    def processes(self) -> int:
        return 1 + len(self._helpers)

    def begin(self, config: SimulateConfig, parts: int) -> None:
        """Let the helpers load model and data and program their chips; those that get no part are ended."""
        helpers = max(0, min(len(self._helpers), parts - 1))
        self._dismiss(self._helpers[helpers:])
        del self._helpers[helpers:]
        for helper in self._helpers:
            assert helper.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # `_serve` notices
                _send(helper.stdin, config)

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_exception: object) -> None:
        for helper in self._helpers:
            helper.kill()
        for thread in self._threads:
            thread.join()  # it reads the end of the pipe
        self._dismiss(self._helpers)

    @staticmethod
    def _dismiss(helpers: Sequence[subprocess.Popen]) -> None:
        for helper in helpers:
            helper.kill()
            helper.wait()
            for pipe in (helper.stdin, helper.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]

    def run(self, parts: Sequence[Part], bench: Workbench, chips: Chips) -> list[Any]:
        waiting = deque(enumerate(parts))
        results: list[Any] = [None] * len(parts)
        self._threads = [
            threading.Thread(target=self._serve, args=(helper, waiting, results), daemon=True)
            for helper in self._helpers
        ]
        for thread in self._threads:
            thread.start()
        with one_thread():
            while self._failure is None:
                try:
                    number, part = waiting.popleft()
                except IndexError:
                    break
                results[number] = part.perform(bench, chips, self._progress)
                release()
        for thread in self._threads:
            while thread.is_alive() and self._failure is None:
                thread.join(0.2)  # in turns, so that Ctrl-C is heard
        if self._failure is not None:
            raise self._failure
        return results

    def _serve(self, helper: subprocess.Popen, waiting: deque, results: list[Any]) -> None:
        """Give parts to one helper until none are left."""
        assert helper.stdin is not None and helper.stdout is not None
        try:
            while self._failure is None:
                try:
                    number, part = waiting.popleft()
                except IndexError:
                    return
                _send(helper.stdin, part)
                results[number] = self._answer(helper.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            code = helper.wait()
            self._failure = EdgeAdaptError(
                f"a helper process ended early (exit status {code}; out of memory?): try again with --jobs 1"
            )
        except EdgeAdaptError as error:
            self._failure = error

    def _answer(self, pipe: IO[bytes]) -> Any:
        while True:
            kind, content = pickle.load(pipe)
            if kind == "result":
                return content
            if kind == "failure":
                exit_code, text = content
                raise UsageError(text) if exit_code == UsageError.exit_code else EdgeAdaptError(text)
            with self._lock:
                getattr(self._progress, kind)(*content)


class _Passed(Progress):
    """Progress of a helper, sent to the process that shows it."""

    def __init__(self, pipe: IO[bytes]):
        self._pipe = pipe

    def stage(self, text: str) -> None:
        _send(self._pipe, ("stage", (text,)))

    def advance(self, units: float = 1, kind: str = "") -> None:
        _send(self._pipe, ("advance", (units, kind)))


def _send(pipe: IO[bytes], thing: Any) -> None:
    pickle.dump(thing, pipe)
    pipe.flush()


def import_ahead() -> None:
    """Import what loading a model of the BERT kind needs and transformers puts off until then: seconds, that a helper
    has while the process that started it loads.
    """
    from transformers.models.auto import modeling_auto, tokenization_auto  # noqa: F401
    from transformers.models.bert import modeling_bert  # noqa: F401


def serve() -> None:
    """A helper's life: configuration in, results out, until its input ends."""
    logging.getLogger(__package__.partition(".")[0]).setLevel(logging.ERROR)  # that process gives the remarks
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints must not mix with the results
    progress = _Passed(sink)
    import_ahead()
    with contextlib.suppress(EOFError, BrokenPipeError):
        try:
            bench = load_workbench(pickle.load(source))
            chips = Chips(bench)
            chips.get(next(iter(bench.config.chip_numbers)))  # while the process that started us programs its own
            with one_thread():
                while True:
                    _send(sink, ("result", pickle.load(source).perform(bench, chips, progress)))
                    release()
        except EdgeAdaptError as error:
            _send(sink, ("failure", (error.exit_code, str(error))))
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            _send(sink, ("failure", (1, "not enough memory for a helper process: try again with --jobs 1")))


if __name__ == "__main__":
    serve()
