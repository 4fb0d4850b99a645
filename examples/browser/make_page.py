"""Write one page with a bundle of texts in it, which trains and predicts in a browser: no server, no network.

    python examples/browser/make_page.py BUNDLE page.html [EXAMPLES.csv]

The page holds the bundle, ONNX Runtime for browsers and the JavaScript beside this file. It starts from the exported
state; EXAMPLES.csv (or .jsonl) are the labelled texts that it shows at the beginning.
"""

import argparse
import base64
import gzip
import html
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from edge_adapt.errors import EdgeAdaptError, UsageError
from edge_adapt.folders import write_whole
from edge_adapt.runtime.examples import read_examples
from edge_adapt.runtime.manifest import MANIFEST, Manifest, read_manifest, verify_files
from edge_adapt.runtime.tokens import Encoder
from edge_adapt.workloads.fetch import fetch

HERE = Path(__file__).resolve().parent
RUNTIME, TOKENIZERS = "onnxruntime-web", "huggingface-tokenizers"
WASM = (RUNTIME, "package/dist/ort-wasm-simd-threaded.wasm")
MODULES = {
    "ort": (RUNTIME, "package/dist/ort.wasm.bundle.min.mjs"),
    "tokenizers": (TOKENIZERS, "package/dist/tokenizers.min.mjs"),
}
"""By the name under which worker.mjs knows them."""
PROBES = (
    "The café wasn't bad, naïve façade... (very) good!? #1 @user $3.50",
    "日本語のテキスト 中文 한국어 العربية हिन्दी Ελληνικά ΤΕΛΟΣ İstanbul ß ﬁ",
    "emoji 😀👍🏽 👨‍👩‍👧 🇩🇪 \t tab   blanks\u00a0and\u200bnone, e\u0301 \U00020000",
)
"""The page reads these with the device's token ids beside them, and stops where it finds others."""
_PART = 3 << 18  # bytes of a file in one element: its base64 has a megabyte
_IMPORT = re.compile(r'^import .* from "\./(\w+\.mjs)";\n', re.MULTILINE)

_EXPORTS = re.compile(r"export\s*\{([^{}]*)\};?\s*(?://# sourceMappingURL=\S+\s*)?\Z")


def make_page(bundle: Path, examples: Path | None = None) -> str:
    """The page.

    Raises:
        UsageError: the folder is no bundle, or is damaged, or is one that the page does not take; wrong examples.
        EdgeAdaptError: ONNX Runtime for browsers could not be fetched.
    """
    manifest = read_manifest(bundle)
    verify_files(bundle, manifest)
    if manifest.tokenizer is None:
        raise UsageError(f"{bundle} is a bundle of images; the page takes one of texts")
    if manifest.recipe.head_shrinkage != 1.0:
        raise UsageError(f"the head of {bundle} starts from discriminant analysis; the page knows class means alone")
    shown = [] if examples is None else _shown(examples, manifest)
    files = {name: (bundle / name).read_bytes() for name in (MANIFEST, *manifest.files)}
    modules = [_as_constant(name, _member(*where).decode()) for name, where in MODULES.items()]
    files["program/ort.wasm"] = _member(*WASM)
    files["program/worker.mjs"] = "\n".join([*modules, _script("worker.mjs")]).encode()
    given = {"examples": shown, "probes": _probes(bundle, manifest), "versions": _versions()}
    data = json.dumps(given, ensure_ascii=True).replace("<", "\\u003c")
    elements = [f'<script type="application/json" id="given">{data}</script>', *_elements(files)]
    parts = {
        "/*STYLE*/": (HERE / "page.css").read_text(encoding="utf-8"),
        "<!--DATA-->": "\n".join(elements),
        "/*SCRIPT*/": _script("page.mjs"),
    }
    page = (HERE / "page.html").read_text(encoding="utf-8")
    return re.sub("|".join(map(re.escape, parts)), lambda place: parts[place[0]], page)  # once: texts may hold anything


def _shown(path: Path, manifest: Manifest) -> list[dict[str, str]]:
    examples = read_examples(path)
    for example in examples:
        if example.label not in manifest.labels:
            raise UsageError(f"{path}, line {example.line}: the label {example.label!r} is none of the bundle's: "
                             f"{', '.join(manifest.labels)}")  # fmt: skip
    return [{"text": example.text, "label": example.label} for example in examples]


def _probes(bundle: Path, manifest: Manifest) -> list[dict[str, object]]:
    assert manifest.tokenizer is not None
    encoder = Encoder(bundle, manifest.tokenizer)
    return [{"text": text, "ids": encoder.encode([text])[0]} for text in PROBES]


def _versions() -> str:
    from edge_adapt.workloads.packages import PACKAGES

    return f"onnxruntime-web {PACKAGES[RUNTIME].version}, tokenizers.js {PACKAGES[TOKENIZERS].version}"


def _member(package: str, member: str) -> bytes:
    return (fetch(package) / member).read_bytes()


def _as_constant(name: str, module: str) -> str:
    """A module as a constant that holds what it exports. A page from a file may import nothing, and start no worker
    that is a module; the address of one is then the worker's own.
    """
    found = _EXPORTS.search(module)
    if found is None:
        raise EdgeAdaptError(f"the module {name} does not end with its exports")
    exports = ", ".join(": ".join(reversed(item.split(" as "))) for item in found[1].split(","))
    code = module[: found.start()].replace("import.meta.url", "self.location.href")
    return f"const {name} = (() => {{\n{code}\nreturn {{ {exports} }};\n}})();"


def _script(name: str) -> str:
    """A script with what it imports in front of it, each once, as one module."""
    order: list[str] = []

    def visit(file: str) -> None:
        if file not in order:
            for needed in _IMPORT.findall((HERE / "js" / file).read_text(encoding="utf-8")):
                visit(needed)
            order.append(file)

    visit(name)
    texts = [_IMPORT.sub("", (HERE / "js" / file).read_text(encoding="utf-8")) for file in order]
    return re.sub(r"^export ", "", "\n".join(texts), flags=re.MULTILINE)


def _elements(files: Mapping[str, bytes]) -> Iterator[str]:
    """Each file, packed, in as many elements as it needs."""
    for name, content in files.items():
        packed = gzip.compress(content, 6, mtime=0)
        for start in range(0, len(packed), _PART):
            text = base64.b64encode(packed[start : start + _PART]).decode()
            yield f'<script type="text/plain" data-file="{html.escape(name)}">{text}</script>'


def _path(text: str) -> Path:
    """A path; an empty word would be the working folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty word was given")
    return Path(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=_path, help="folder that `edge-adapt export` wrote")
    parser.add_argument("page", type=_path, help="file to write; folders above it are made")
    parser.add_argument("examples", type=_path, nargs="?", help="labelled texts to show at the beginning")
    args = parser.parse_args()
    try:
        write_whole(args.page, make_page(args.bundle, args.examples))
    except (EdgeAdaptError, UsageError, OSError) as error:
        print(f"make_page: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print(f"{args.page}: {args.page.stat().st_size / 1e6:.1f} MB; open it in a browser")
    return 0


if __name__ == "__main__":
    sys.exit(main())
