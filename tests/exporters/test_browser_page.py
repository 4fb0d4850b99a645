"""The page of examples/browser in headless Chromium gives the numbers of the device: losses, probabilities, tokens."""

import base64
import gzip
import json
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from edge_adapt.cli import main
from edge_adapt.errors import UsageError
from edge_adapt.runtime import Session
from edge_adapt.runtime.manifest import read_manifest, write_manifest
from edge_adapt.runtime.start import state_digest
from edge_adapt.runtime.store import create_state
from edge_adapt.runtime.tokens import Encoder
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, normalizers
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

pytestmark = pytest.mark.download
AWKWARD = [
    "The café was très bien, naïve façade.",
    "日本語のテキスト and 中文 mixed in",
    "emoji 😀👍🏽 family 👨‍👩‍👧 flag 🇩🇪 ok",
    "İstanbul ǅ ß ﬁ Ω ΣΑΣ ΤΕΛΟΣ ς",
    "don't you think it's... (very) good!? #tag @user http://a.b/c?d=e",
    "   spaces\t\ttabs\nnew\r\nlines  ",
    "a\x00b\u200bc\u00add\ufeffe\ufffdf",
    "[CLS] literal [SEP] specials [MASK] [PAD]",
    "x\u0301 e\u0301 é n\u0303 한국어 조합",
    "pneumonoultramicroscopicsilicovolcanoconiosis " * 30,
    "a" * 101 + " b",
    "price €3.50 £4 ¥5 $6 ± × ÷ — – ‘quotes’ “double” …",
    "العربية עברית हिन्दी ไทย",
    "\u2028line\u2029para\x85next\xa0nbsp\u3000ideographic",
    "𝒜𝓁𝓅𝒽𝒶 \U00020000\U00020001 half ｆｕｌｌ",
    "A_B-C/D\\E|F~G`H^I",
]


def word_pieces(vocabulary: list[str]) -> Tokenizer:
    """A tokenizer as BERT's."""
    tokenizer = Tokenizer(WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    special = [(name, vocabulary.index(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=special
    )
    return tokenizer


def rewritten(source: Path, folder: Path, change: Callable[[Path], None], **changes: Any) -> Path:
    """A copy of a bundle with other files, sealed again."""
    shutil.copytree(source, folder)
    shutil.rmtree(folder / "state")
    change(folder)
    write_manifest(folder, replace(read_manifest(source), **changes))
    create_state(folder, read_manifest(folder))
    return folder


@pytest.fixture(scope="module")
def sources(exported: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """sources(kind): a bundle of the tiny encoder with a tokenizer as BERT's, "lorafusion", one that trains the "head
    only", or "lora, int4"; not to be changed.
    """
    done: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in done:
            # Both need settings of their own beside all that others need.
            method, weights = ("lora", "int4") if kind == "lora, int4" else ("lorafusion", "int8")
            source = exported(method, weights=weights)
            manifest = read_manifest(source)
            changes: dict[str, Any] = {"recipe": replace(manifest.recipe, batch_size=8, epochs=3)}
            if kind == "head only":
                state = [replace(t, group=t.group if t.name.startswith("head.") else None) for t in manifest.state]
                changes |= {"state": tuple(state), "l1_names": (), "graphs": {"infer": manifest.graphs["infer"]}}

            def change(folder: Path) -> None:
                words = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
                word_pieces(list(words)).save(str(folder / "tokenizer.json"))
                if kind == "head only":
                    (folder / "train.onnx").unlink()

            done[kind] = rewritten(source, tmp_path_factory.mktemp("source") / "bundle", change, **changes)
        return done[kind]

    return make


@pytest.fixture
def page(browser, maker: ModuleType, tmp_path: Path) -> Callable[..., Any]:
    """page(bundle): the browser with the page of a bundle, opened; page(bundle, change) with its text changed."""

    def show(bundle: Path, change: Callable[[str], str] = str, examples: Path | None = None) -> Any:
        file = tmp_path / "page.html"
        file.write_text(change(maker.make_page(bundle, examples)), encoding="utf-8")
        browser.open(file)
        return browser

    return show


def examples(count: int) -> tuple[list[str], list[str]]:
    texts = [
        f"The {('film', 'plot', 'cast')[i % 3]} was {'very ' * (i % 5)}{('good', 'bad')[i % 2]}" for i in range(count)
    ]
    return texts, [("up", "down")[i % 2] for i in range(count)]


def pairs(texts: list[str], labels: list[str]) -> list[dict[str, str]]:
    return [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]


def probabilities(session: Session, texts: list[str]) -> list[list[float]]:
    return [list(found.probabilities.values()) for found in session.predict(texts)]


@pytest.mark.parametrize("kind", ["lorafusion", "head only", "lora, int4"])
def test_the_page_trains_as_the_device_and_both_go_on_from_each_other(
    kind: str, sources, page, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Path(shutil.copytree(sources(kind), tmp_path / "bundle"))
    browser = page(bundle)
    texts, labels = examples(21)
    asked = ["the film was so good", "bad bad plot", "very"]
    with Session(bundle, threads=1) as session:
        assert browser.ask("edgeAdapt.ready")["labels"] == list(session.labels)
        np.testing.assert_allclose(browser.page("predict", asked), probabilities(session, asked), atol=1e-6)
        first = browser.page("train", pairs(texts, labels))
        report = session.train(texts, labels)
        assert first["updates"] == report.updates == 9
        np.testing.assert_allclose(first["losses"], report.losses, atol=1e-4)
        assert np.mean(first["losses"][-3:]) < np.mean(first["losses"][:3])
        trained = probabilities(session, asked)
        np.testing.assert_allclose(browser.page("predict", asked), trained, atol=1e-4)
        np.testing.assert_allclose(browser.page("predict", asked, True), np.full((3, 2), 0.5), atol=1e-6)
        state = session.state

    # What the page learned, on another device: the same state, from which it trains on.
    file = tmp_path / "page.safetensors"
    file.write_bytes(base64.b64decode(browser.ask(
        "edgeAdapt.stateFile().then((bytes) => btoa(String.fromCharCode(...bytes)))"
    )))  # fmt: skip
    found = load_file(file)
    assert found.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)
    with safe_open(file, "np") as content:  # the device's digests
        told = content.metadata()
    assert told["state_sha256"] == state_digest(found)
    assert told["start_sha256"] == state_digest(load_file(bundle / "initial.safetensors"))
    other = Path(shutil.copytree(sources(kind), tmp_path / "other"))
    assert main(["state", "import", str(other), str(file)]) == 0
    with Session(other, threads=1) as session:
        assert session.snapshot.header.step == 9
        np.testing.assert_allclose(probabilities(session, asked), browser.page("predict", asked), atol=1e-6)
        report = session.train(texts[:10], labels[:10])
        second = browser.page("train", pairs(texts[:10], labels[:10]))
        np.testing.assert_allclose(second["losses"], report.losses, atol=1e-4)
        assert second["step"] == session.snapshot.header.step == 15

    # What the device learned, in the page.
    assert main(["state", "export", str(other), str(tmp_path / "device.safetensors")]) == 0
    capsys.readouterr()
    browser.page("reset")
    content = base64.b64encode((tmp_path / "device.safetensors").read_bytes()).decode()
    told = browser.ask(f"edgeAdapt.importState(Uint8Array.from(atob('{content}'), (c) => c.charCodeAt(0)))")
    assert told["step"] == 15
    with Session(other, threads=1) as session:
        np.testing.assert_allclose(browser.page("predict", asked), probabilities(session, asked), atol=1e-6)

        # One label alone.
        session.reset()
        browser.page("reset")
        report = session.train(texts[:1], labels[:1])
        np.testing.assert_allclose(
            browser.page("train", pairs(texts[:1], labels[:1]))["losses"], report.losses, atol=1e-4
        )
        np.testing.assert_allclose(browser.page("predict", asked), probabilities(session, asked), atol=1e-4)


def test_a_head_of_class_means_alone(sources, page, tmp_path: Path) -> None:
    manifest = read_manifest(sources("head only"))
    state = tuple(replace(tensor, group=None) for tensor in manifest.state)
    recipe = replace(manifest.recipe, epochs=0)
    bundle = rewritten(sources("head only"), tmp_path / "bundle", lambda _: None, state=state, recipe=recipe)
    browser = page(bundle)
    texts, labels = examples(9)
    with Session(bundle, threads=1) as session:
        report = session.train(texts, labels)
        found = browser.page("train", pairs(texts, labels), {"epochs": 5})
        assert (found["losses"], found["step"]) == (report.losses, session.snapshot.header.step) == ([], 1)
        np.testing.assert_allclose(browser.page("predict", texts), probabilities(session, texts), atol=1e-5)


def test_the_page_reads_texts_as_the_device(sources, page, tmp_path: Path) -> None:
    pieces = [chr(c) for c in (*range(33, 127), *range(0xE0, 0x250), *range(0x3B1, 0x3CA), 0x4E2D, 0x65E5, 0x20000)]
    words = ["the", "was", "##ing", "very", "liter", "special", "##s", "emoji", "face", "con", "half", "istanbul"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    vocabulary += dict.fromkeys([*pieces, *(f"##{piece}" for piece in pieces)])
    save = lambda folder: word_pieces(vocabulary).save(str(folder / "tokenizer.json"))
    bundle = rewritten(sources("lorafusion"), tmp_path / "bundle", save)
    browser = page(bundle)
    info = read_manifest(bundle).tokenizer
    assert info is not None
    encoded = Encoder(bundle, info).encode(AWKWARD)
    assert max(map(len, encoded)) == info.max_tokens  # one is cut
    assert browser.page("encode", AWKWARD) == encoded


def test_a_tokenizer_that_the_page_reads_otherwise_is_refused(sources, page) -> None:
    change = lambda text: re.sub(r'"ids": \[(\d+), \d+', r'"ids": [\1, 4', text, count=1)
    browser = page(sources("lorafusion"), change)
    with pytest.raises(RuntimeError, match="cannot read the bundle's tokenizer"):
        browser.ask("edgeAdapt.ready")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("weights.data", b"\0", b"\1", "weights.data is damaged: its SHA-256 does not match the manifest"),
        ("tokenizer.json", b"{", b"{ ", r"tokenizer.json is damaged: it has \d+ bytes, not \d+"),
        ("manifest.json", b'"epochs": 3', b'"epochs": 4', "manifest.json is damaged: its checksum does not match"),
        ("manifest.json", b"bundle/1", b"bundle/2", "has schema edge-adapt/bundle/2; this page reads up to 1"),
        ("train.onnx", None, b"", "train.onnx is damaged: it cannot be unpacked"),
        ("train.onnx", b"", None, "train.onnx is missing in the bundle"),
    ],
)
def test_a_damaged_page_says_so(file: str, old: bytes | None, new: bytes | None, message: str, sources, page) -> None:
    def change(text: str) -> str:
        """The page with one of its files changed, or cut off, or taken out."""
        wanted = re.compile(f'<script type="text/plain" data-file="{re.escape(file)}">([^<]*)</script>')
        parts = wanted.findall(text)
        packed = b"".join(map(base64.b64decode, parts))
        if old is None:
            packed = packed[: len(packed) // 2]
        elif new is not None:
            content = gzip.decompress(packed)
            assert old in content
            packed = gzip.compress(content.replace(old, new, 1))
        element = f'<script type="text/plain" data-file="{file}">{base64.b64encode(packed).decode()}</script>'
        left = [element if new is not None else "", *[""] * len(parts[1:])]
        return wanted.sub(lambda _: left.pop(0), text)

    browser = page(sources("lorafusion"), change)
    with pytest.raises(RuntimeError, match=message):
        browser.ask("edgeAdapt.ready")
    assert re.search(message, browser.ask("document.getElementById('status').textContent"))
    for button in ("train", "add", "take"):
        assert browser.ask(f"document.getElementById('{button}').disabled")


def test_mistakes_are_said(sources, page, tmp_path: Path) -> None:
    browser = page(sources("lorafusion"))
    browser.ask("edgeAdapt.ready")
    for call, message in (
        (("train", []), "There are no examples"),
        (("train", pairs(["good"], ["sideways"])), 'The label "sideways" is none of down, up'),
        (("train", pairs(["good", " "], ["up", "down"])), "Text 2 of 2 is empty"),
        (("predict", []), "There are no texts"),
        (("encode", ["\ud83d"]), "half a letter"),
    ):
        with pytest.raises(RuntimeError, match=message):
            browser.page(*call)
    state = tmp_path / "state.safetensors"
    tensors = load_file(sources("lorafusion") / "initial.safetensors")
    told = {"bundle": read_manifest(sources("lorafusion")).manifest_sha256, "labels": '["down", "up"]', "step": "0"}
    name = min(tensors)
    for changed, metadata, message in (
        (tensors, told | {"bundle": "0" * 64}, "is a state of another bundle"),
        (tensors, told | {"labels": '["up", "down"]'}, "is damaged: its labels"),
        (tensors, told | {"labels": '["down", "up", "a", "b"]'}, "more labels than the head has rows"),
        (tensors, told | {"step": "many"}, "number of updates"),
        (tensors, told | {"state_sha256": "0" * 64}, "its tensors are not those that were written"),
        ({k: v for k, v in tensors.items() if k != name}, told, "is missing"),
        (tensors | {name: np.full_like(tensors[name], np.nan)}, told, "not finite"),
        (tensors | {name: tensors[name].ravel()[:1]}, told, "has shape"),
        (tensors | {"more": tensors[name]}, told, "is none of this bundle"),
    ):
        save_file(changed, state, metadata)
        with pytest.raises(RuntimeError, match=message):
            browser.ask(_import(state.read_bytes()))
    save_file(tensors, state, told)
    sound = state.read_bytes()
    headers = (b"", b"null", b"[]", b'{"a": 5}', b'{"a": {"shape": 1}}', b'{"__metadata__": 3}', b"[" * 100_000)
    for content in (b"", b"\xff" * 16, sound[:-4], *(struct.pack("<Q", len(text)) + text for text in headers)):
        with pytest.raises(RuntimeError, match="is no file that edge-adapt wrote"):
            browser.ask(_import(content))
    rng = np.random.default_rng(0)
    for _ in range(200):  # whatever is changed, it is taken or refused in words
        content = bytearray(sound)
        for place in rng.integers(0, 1500, 3):
            content[place] = rng.integers(256)
        said = browser.ask(f"{_import(bytes(content))}.then(() => '', (error) => error.message)")
        assert not said.startswith("The page failed")
    browser.page("reset")
    assert browser.page("predict", ["good"]) == [[0.5, 0.5]]  # the state is as it was


def _import(content: bytes) -> str:
    return (
        f"edgeAdapt.importState(Uint8Array.from(atob('{base64.b64encode(content).decode()}'), (c) => c.charCodeAt(0)))"
    )


def test_what_a_person_does(sources, page, tmp_path: Path) -> None:
    given = tmp_path / "examples.csv"
    given.write_text("text,label\nthe film was good /*SCRIPT*/,up\n<b>the plot was bad</b></script>,down\n")
    browser = page(sources("lorafusion"), examples=given)
    browser.ask("edgeAdapt.ready")
    legend = "document.getElementById('legend').textContent"
    assert browser.ask(legend) == "down 1up 1"
    browser.ask("""
        document.getElementById("pasted").value = "up, very good\\ndown\\tso bad\\nsideways, what";
        document.getElementById("take").click();
        document.getElementById("questions").value = "good\\n<i>bad</i>";
    """)
    assert browser.ask(legend) == "down 2up 2"
    assert browser.ask("document.getElementById('pasted').value") == "sideways, what"
    status = "document.getElementById('status').textContent"
    browser.ask(done("train"))
    assert browser.ask(status) == "Trained."
    assert len(browser.ask("document.getElementById('line').getAttribute('points')").split()) == 3  # updates
    for when in ("before", "now"):
        assert browser.ask(f"document.querySelectorAll('#answers .{when}').length") == 2
    answers = browser.ask("document.getElementById('answers').textContent")
    assert "<i>bad</i>" in answers  # as a text
    learned = browser.page("predict", ["good"])

    browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.ask(done("save"))
    browser.wait("Page.downloadProgress", state="completed")
    browser.ask(done("reset"))
    assert browser.page("predict", ["good"]) == [[0.5, 0.5]]
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    browser.ask("""window.said = new Promise((resolve) =>
        new MutationObserver(() => resolve()).observe(document.getElementById("status"), { childList: true })); 0""")
    browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(tmp_path / "state.safetensors")])
    browser.ask("window.said")
    assert browser.ask(status) == "The state of state.safetensors is the current one."
    assert browser.page("predict", ["good"]) == learned

    # A run that is stopped changes nothing.
    browser.ask("""
        document.getElementById("epochs").value = 1000;
        new MutationObserver(() => document.getElementById("stop").click())
            .observe(document.getElementById("told"), { childList: true });
    """)
    browser.ask(done("train"))
    assert browser.ask(status) == "Stopped: the state is as it was before."
    assert browser.page("predict", ["good"]) == learned


def test_labels_may_hold_anything_and_the_recipe_may_ask_for_more_rounds(sources, page, tmp_path: Path) -> None:
    labels = ("<img src=x>", "up, really")
    recipe = replace(read_manifest(sources("head only")).recipe, epochs=1, min_steps=5)
    bundle = rewritten(sources("head only"), tmp_path / "bundle", lambda _: None, labels=labels, recipe=recipe)
    given = tmp_path / "examples.jsonl"
    given.write_text(json.dumps({"text": "so bad", "label": labels[0]}) + "\n")
    browser = page(bundle, examples=given)
    browser.ask("edgeAdapt.ready")
    browser.ask("""
        document.getElementById("pasted").value = "up, really, good, so good\\n<img src=x>\\t bad\\nup, no";
        document.getElementById("take").click();
        document.getElementById("questions").value = "good";
    """)
    assert browser.ask("document.getElementById('pasted').value") == "up, no"
    assert browser.ask("[...document.querySelectorAll('#rows .text')].map((text) => text.value)") == [
        "so bad", "good, so good", "bad"
    ]  # fmt: skip
    browser.ask(done("train"))
    assert browser.ask("document.getElementById('status').textContent") == "Trained."
    assert browser.ask("document.images.length") == 0
    with Session(bundle, threads=1) as session:
        report = session.train(["so bad", "good, so good", "bad"], [labels[0], labels[1], labels[0]])
        told = browser.ask("document.getElementById('told').textContent")
        assert told.startswith(f"Loss of each of {report.updates} updates on 3 examples") and report.updates == 5
        np.testing.assert_allclose(browser.page("predict", ["good"]), probabilities(session, ["good"]), atol=1e-4)


def done(button: str) -> str:
    """A click on a button, and the end of what it does."""
    return f"""new Promise((resolve) => {{
        const button = document.getElementById("{button}");
        new MutationObserver(() => button.disabled || resolve()).observe(button, {{ attributes: true }});
        button.click();
    }})"""


def test_the_page_reaches_no_network(sources, page) -> None:
    browser = page(sources("lorafusion"))
    browser.ask("edgeAdapt.ready")
    for reach in ("fetch('http://127.0.0.1:9/').catch(() => 0)", "new Image().src = 'http://127.0.0.1:9/a.png'"):
        blocked = browser.ask(f"""new Promise((resolve) => {{
            addEventListener("securitypolicyviolation", (event) => resolve(event.blockedURI), {{ once: true }});
            {reach};
        }})""")
        assert blocked.startswith("http://127.0.0.1:9/")
    loaded = browser.ask("performance.getEntriesByType('resource').map(({ name }) => name)")
    assert not [name for name in loaded if not name.startswith(("blob:", "data:", "http://127.0.0.1:9/"))]


def test_bundles_and_examples_that_no_page_is_made_of(
    sources, maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = replace(read_manifest(sources("lorafusion")), tokenizer=None)
    with monkeypatch.context() as patch:
        patch.setattr(maker, "read_manifest", lambda _: seen)
        with pytest.raises(UsageError, match="is a bundle of images; the page takes one of texts"):
            maker.make_page(sources("lorafusion"))
    recipe = replace(read_manifest(sources("lorafusion")).recipe, head_shrinkage=0.5)
    other = rewritten(sources("lorafusion"), tmp_path / "other", lambda _: None, recipe=recipe)
    with pytest.raises(UsageError, match="starts from discriminant analysis"):
        maker.make_page(other)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("text,label\ngood,sideways\n")
    with pytest.raises(UsageError, match=r"line 2: the label 'sideways' is none of the bundle's: down, up"):
        maker.make_page(sources("lorafusion"), wrong)
    monkeypatch.setattr("sys.argv", ["make_page.py", str(tmp_path), str(tmp_path / "page.html")])
    assert maker.main() == 2
    assert capsys.readouterr().err.startswith("make_page: error: ")
    monkeypatch.setattr("sys.argv", ["make_page.py", "", "page.html"])
    with pytest.raises(SystemExit) as stop:
        maker.main()
    assert stop.value.code == 2 and "argument bundle: an empty word was given" in capsys.readouterr().err
    monkeypatch.setattr(maker, "make_page", lambda *_: "the page")
    monkeypatch.setattr("sys.argv", ["make_page.py", "bundle", str(tmp_path / "new" / "deep" / "page.html")])
    assert maker.main() == 0
    assert (tmp_path / "new" / "deep" / "page.html").read_text() == "the page"
    assert not (tmp_path / "page.html").exists()
