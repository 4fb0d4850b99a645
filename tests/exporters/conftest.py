"""Bundles of a tiny random encoder, each exported once for the tests of a process, and what they are made from; a
browser for the page that trains one.
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from edge_adapt.exporters.bundle import ExportConfig, export_bundle
from edge_adapt.methods import get_method
from edge_adapt.workloads.fetch import is_cached
from edge_adapt.workloads.models import load_backbone
from edge_adapt.workloads.peft_folder import LoraModule, save_module
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "browser"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGES = ("onnxruntime-web", "huggingface-tokenizers")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--remote-debugging-pipe")  # fmt: skip

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "plot", "cast", "the", "was", "very", "so"]


class Silent:
    """No progress shown."""

    def start(self, total: int) -> None: ...
    def stage(self, text: str) -> None: ...
    def advance(self, units: float = 1, kind: str = "") -> None: ...


@pytest.fixture(scope="session")
def silent() -> Silent:
    return Silent()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small gain nothing from threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model` (width 64, one block), `pool` (two random modules of rank 4) and `reviews.csv`."""
    folder = tmp_path_factory.mktemp("inputs")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = BertConfig(
            vocab_size=len(WORDS), hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=96
        )
        model = BertModel(shape, add_pooling_layer=False)
        for name, parameter in model.named_parameters():  # as in real models, channels differ in size
            if name.endswith("dense.weight"):
                parameter.data *= torch.logspace(-1, 0.5, len(parameter)).unsqueeze(1)
        model.save_pretrained(folder / "model")
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "model" / "tokenizer.json"))
    rows = [f"the {WORDS[6 + i % 3]} was {word} {'very ' * (i % 4)}{'so ' * (i // 4)},{label}"
            for word, label in (("good", "up"), ("bad", "down")) for i in range(20)]  # fmt: skip
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    fingerprint = load_backbone(folder / "model").fingerprint
    rng = np.random.default_rng(0)
    targets = [f"encoder.layer.{block}.attention.self.{kind}" for block in (0,) for kind in ("query", "value")]
    for number, scale in enumerate((0.5, 2.0)):
        draw = lambda *shape: rng.normal(0, 0.2, shape).astype(np.float32)
        module = LoraModule(
            f"m{number}", 4, scale, {n: draw(4, 64) for n in targets}, {n: draw(64, 4) for n in targets},
            base_model="model", base_fingerprint=fingerprint,
        )  # fmt: skip
        save_module(folder / "pool" / module.name, module)
    return folder


@pytest.fixture(scope="session")
def config(inputs: Path) -> ExportConfig:
    """LoRA of rank 4, with a task of two labels and one class reserved."""
    return ExportConfig(
        get_method("lora", rank=4), str(inputs / "model"), str(inputs / "reviews.csv"), reserved_classes=1
    )


@pytest.fixture(scope="session")
def exported(config: ExportConfig, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """exported(method, **changes) -> folder of a bundle: the same call gives the same folder, which is not to change.

    How much memory it needs is measured only with `plan=True`: six processes take longer than the rest.
    """
    done: dict[str, Path] = {}

    def export(method: str = "lora", plan: bool = False, options: dict | None = None, **changes: object) -> Path:
        key = repr((method, plan, options, sorted(changes.items())))
        if key not in done:
            options = options or ({"rank": 4} if method == "lora" else {})
            pool = str(inputs / "pool") if get_method(method).needs_pool else None
            asked = replace(config, method=get_method(method, **options), pool=pool, **changes)
            out = tmp_path_factory.mktemp("out") / "bundle"
            with pytest.MonkeyPatch.context() as patch:
                if not plan:
                    patch.setattr("edge_adapt.exporters.bundle.calibrate", lambda *_, **__: {})
                export_bundle(asked, out, Silent())
            done[key] = out
        return done[key]

    return export


@pytest.fixture(scope="session")
def bundle(exported: Callable[..., Path]) -> Path:
    """The bundle of `config`, with everything an export does."""
    return exported(plan=True)


class Browser:
    """A Chromium of its own, driven through two pipes (Chrome DevTools protocol: JSON, each message ended by a 0)."""

    def __init__(self, program: str, profile: Path) -> None:
        theirs, self._out = map(_high, os.pipe())
        self._in, answers = map(_high, os.pipe())
        null = os.open(os.devnull, os.O_RDWR)
        given = [*((null, number) for number in range(3)), (theirs, 3), (answers, 4)]
        self._process = os.posix_spawn(
            program,
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            {**os.environ, "HOME": str(profile)},
            file_actions=[(os.POSIX_SPAWN_DUP2, *pair) for pair in given],
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE],
        )
        for descriptor in (theirs, answers, null):
            os.close(descriptor)
        self._unread, self._last, self._where = b"", 0, {}
        self._events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._where = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Inspector"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters, **self._where}
        left = json.dumps(message).encode() + b"\0"
        while left:
            left = left[os.write(self._out, left) :]
        while (answer := self._read()).get("id") != self._last:
            self._events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            more = os.read(self._in, 1 << 20)
            assert more, "the browser ended"
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        found = json.loads(message)
        assert found.get("method") != "Inspector.targetCrashed", "the page crashed"  # and would answer no more
        return found

    def open(self, page: Path) -> None:
        """Come back when the page is loaded; its files may not be unpacked yet."""
        self._events.clear()
        self.call("Page.navigate", url=page.as_uri())
        self.wait("Page.loadEventFired")

    def wait(self, event: str, **told: Any) -> None:
        """Come back when the browser tells of an event with such values, or has told since the page was opened."""
        while True:
            message = self._events.pop(0) if self._events else self._read()
            if message.get("method") == event and told.items() <= message["params"].items():
                return

    def ask(self, expression: str) -> Any:
        """The value of JavaScript, waited for where it is a promise. Raises `RuntimeError` with what is thrown."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"]["description"].splitlines()[0])
        return found["result"].get("value")

    def page(self, name: str, *given: Any) -> Any:
        """A function of `window.edgeAdapt`."""
        return self.ask(f"edgeAdapt.{name}({', '.join(map(json.dumps, given))})")

    def close(self) -> None:
        self._where = {}
        with contextlib.suppress(AssertionError, OSError):
            self.call("Browser.close")
        os.close(self._out)
        os.close(self._in)
        os.waitpid(self._process, 0)


def _high(descriptor: int) -> int:
    """The same as a number that no child is to have as one of its first."""
    higher = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return higher


def _starts(program: str) -> bool:
    """Whether it is a browser: Ubuntu has a script of that name that only says how to install one."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.returncode == 0 and "Chrom" in done.stdout


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = next(filter(_starts, filter(None, map(shutil.which, NAMES))), None)
    if program is None:
        pytest.skip("no Chromium on this machine (Debian: chromium)")
    if absent := [name for name in PACKAGES if not is_cached(name)]:
        pytest.skip(f"not in the cache: {', '.join(absent)}; run edge-adapt fetch (npm fetches them)")
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def maker() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("make_page", EXAMPLE / "make_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
