"""What a user gets wrong ends in one line on stderr, exit code 2 or 1, and nothing where the report would be."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from edge_adapt.reports import store
from edge_adapt.studies import parts

USAGE, FAILURE = 2, 1


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        ("simulat", ["'simulat'", "simulate"]),
        ("simulate --device rerem", ["'rerem'", "did you mean 'reram'"]),
        ("simulate --device no/such/chip.yaml", ["no/such/chip.yaml"]),
        ("simulate --divice reram", ["--divice"]),
        ("simulate --shots few", ["--shots", "'few'"]),
        ("simulate --shots 1", ["shots must be at least 2", "1"]),
        ("simulate --seeds 0", ["seeds must be at least 1", "0"]),
        ("simulate --first-seed -1", ["first-seed", "-1"]),
        ("simulate --test-examples 0", ["test-examples must be at least 1"]),
        ("simulate --max-tokens 2", ["max-tokens must be at least 4"]),
        ("simulate --readapt-share 2", ["readapt-share", "0..1"]),
        ("simulate --fidelity exact", ["--fidelity", "'exact'", "ideal"]),
        ("simulate --set adc.bits", ["KEY=VALUE", "'adc.bits'"]),
        ("simulate --set cell.g_maxx=50uS", ["g_maxx", "did you mean 'cell.g_max'"]),
        ("simulate --set chip.cell.g_max=50V", ["cell.g_max", "50V", "uS"]),
        ("simulate --set chip.cell.g_max=50parsnips", ["parsnips"]),
        ("simulate --set chip.adc.bits=many", ["adc.bits", "many"]),
        ("simulate --set chip.array.rows=-5", ["array.rows", "-5"]),
        ("simulate --set lorafusion.cros_terms=off", ["cros_terms", "did you mean 'cross_terms'"]),
        ("simulate --set lorafusion.cross_terms=maybe", ["cross_terms", "'maybe'"]),
        ("simulate --set lora.recipe.epochs=some", ["epochs", "whole number", "'some'"]),
        ("simulate --set lora.recipe.epoks=4", ["epoks", "did you mean 'epochs'"]),
        (
            "simulate --set adc.bits=6 --set chip.adc.bits=8",
            ["--set adc.bits=6 and --set chip.adc.bits=8", "one of them"],
        ),
        ("simulate --encoding klingon", ["unknown encoding 'klingon'"]),
        ("simulate --label-column text", ["text-column and label-column are the same"]),
        ("simulate --method lorafusoin", ["'lorafusoin'", "did you mean 'lorafusion'"]),
        ("simulate --method lora:NVM_STAP", ["'NVM_STAP'", "NVM_STEP"]),
        ("simulate --method probe:NVM_STEP", ["probe", "NVM_STEP"]),
        ("simulate --method probe --task moovie", ["'moovie'", "did you mean 'movie'"]),
        ("simulate --method probe --task none.csv", ["none.csv", "does not exist"]),
        ("simulate --method lorafusion --pool nowhere", ["nowhere", "no such folder"]),
        ("simulate --config none.yaml", ["none.yaml", "No such file"]),
        ("devices show rerem", ["'rerem'", "did you mean 'reram'"]),
        ("devices validate none.yaml", ["none.yaml"]),
        ("methods count --model minilm --method lorra", ["'lorra'", "did you mean 'lora'"]),
        ("methods count --model minilmm --method lora", ["'minilmm'", "did you mean 'minilm'"]),
        ("methods count --model minilm --method lora --rank many", ["--rank", "whole number", "'many'"]),
        ("pool inspect nowhere", ["nowhere"]),
        ("fetch vader", ["'vader'", "vaderSentiment"]),
        ("export --method all", ["one method", "--method all"]),
        ("export --method lora:NVM_STEP", ["lora:NVM_STEP trains matrices that sit in cells", "take lora:DIGITAL"]),
        ("export --method lora:digitall", ["'DIGITALL'", "DIGITAL"]),
    ],
)
def test_wrong_words(cli: Callable, here: Path, words: str, fragments: list[str]) -> None:
    cli(*words.split()).assert_refused(USAGE, *fragments)
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("", ["is empty"]),
        ("text,label\n", ["no usable example"]),
        ("text,label\nfine,up\nvery fine,up\nso fine,up\n", ["only the label 'up'", "two classes"]),
        ("text,stars\nfine,5\n", ["line 1", "no column 'label'", "'stars'"]),
        ("words,label\nfine,5\n", ["line 1", "no column 'text'", "'words'"]),
        ("text,label\nfine,up\nbad,\n", ["line 3", "label is empty"]),
        ("text,label\nfine, so fine,up\n", ["line 2", "3 fields"]),
        ("text,label\nfine,up\nbad,down\n", ["too few", "shots"]),
    ],
)
def test_wrong_task_files(cli: Callable, here: Path, tmp_path: Path, content: str, fragments: list[str]) -> None:
    task = tmp_path / "task.csv"
    task.write_text(content)
    shots = "2" if "too few" in fragments else "8"
    cli("simulate", "--method", "probe", "--task", str(task), "--shots", shots).assert_refused(USAGE, *fragments)
    assert not list(here.iterdir())


def test_a_jsonl_line_without_label(cli: Callable, tmp_path: Path) -> None:
    task = tmp_path / "task.jsonl"
    task.write_text('{"text": "fine", "label": "up"}\n{"text": "bad"}\n')
    cli("simulate", "--method", "probe", "--task", str(task)).assert_refused(USAGE, "line 2", "no 'label'")


def test_more_shots_than_examples(cli: Callable, local) -> None:
    words = local.words("--shots", "500", "--method", "probe")
    cli(*words).assert_refused(USAGE, "500 shots", "only")


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("devise: reram\n", ["'devise'", "did you mean 'device'"]),
        ("device: [reram\n", ["config.yaml:", "not valid YAML"]),
        ("just words\n", ["expected `option: value` lines"]),
        ("shots: many\n", ["shots", "'many'"]),
        ("seeds: 1.5\n", ["seeds", "1.5"]),
        ("test-examples: yes\n", ["config.yaml:1: ", "test-examples", "'yes'"]),
        ("seeds: 1\nseeds: 2\n", ["config.yaml:2: ", "'seeds' stands twice"]),
        ("set: adc.bits=6\n", ["`set` holds"]),
        ("set: {adc.bitz: 6}\n", ["bitz"]),
        ("device: rerem\n", ["'rerem'", "did you mean 'reram'"]),
        ("fidelity: exact\n", ["fidelity", "'exact'", "ideal"]),
        ("task: ''\n", ["config.yaml:1: ", "`task` is an empty text"]),
        ("out: ''\n", ["config.yaml:1: ", "`out` is an empty text"]),
        ("shots: 8\nmethod: [probe, '']\n", ["config.yaml:2: ", "`method` is an empty text"]),
    ],
)
def test_wrong_config_files(cli: Callable, here: Path, tmp_path: Path, content: str, fragments: list[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(content)
    cli("simulate", "--method", "probe", "--config", str(config)).assert_refused(USAGE, *fragments)
    assert not list(here.iterdir())


def test_wrong_models(cli: Callable, here: Path, local, tmp_path: Path) -> None:
    words = local.words("--method", "probe", "--model", "minilmm")
    cli(*words).assert_refused(USAGE, "'minilmm'", "did you mean 'minilm'")
    empty = tmp_path / "empty"
    empty.mkdir()
    cli(*local.words("--method", "probe", "--model", str(empty))).assert_refused(USAGE, "no config.json")
    broken = tmp_path / "broken"
    shutil.copytree(local.model, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    cli(*local.words("--method", "probe", "--model", str(broken))).assert_refused(USAGE, str(broken))
    assert not list(here.iterdir())


def test_a_model_without_a_shipped_pool(cli: Callable, local) -> None:
    words = ["simulate", "--model", str(local.model), "--task", str(local.task), "--shots", "8"]
    cli(*words).assert_refused(USAGE, "no pool is shipped", "--pool")


@pytest.mark.parametrize("damage", ["truncated", "garbage", "gone"])
def test_a_pool_with_broken_weights(cli: Callable, here: Path, local, tmp_path: Path, damage: str) -> None:
    pool = tmp_path / "pool"
    shutil.copytree(local.pool, pool)
    weights = pool / "module-1" / "adapter_model.safetensors"
    if damage == "gone":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:-40] if damage == "truncated" else b"no tensors at all")
    cli(*local.words("--pool", str(pool))).assert_refused(USAGE, "adapter_model.safetensors", "module-1")
    assert not list(here.iterdir())


def test_a_broken_pool_is_found_before_the_model_is_looked_for(cli: Callable, local, tmp_path: Path) -> None:
    words = local.words("--pool", str(tmp_path / "nowhere"), "--model", "no-such-model")
    cli(*words).assert_refused(USAGE, "no such folder")


def test_a_pool_of_another_model(cli: Callable, here: Path, local, other_model: Path) -> None:
    cli(*local.words("--model", str(other_model))).assert_refused(USAGE, "whose weights are not those of", "other-bert")
    assert not list(here.iterdir())


def test_out_is_not_ours_to_replace(cli: Callable, here: Path, local) -> None:
    mine = here / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    cli(*local.words("--out", "mine")).assert_refused(USAGE, "thesis.txt", "--out")
    cli(*local.words("--out", "mine/thesis.txt")).assert_refused(USAGE, "is a file")
    cli(*local.words("--out", ".")).assert_refused(USAGE, "working folder")
    assert [path.name for path in here.rglob("*")] == ["mine", "thesis.txt"]


def test_no_space_left_for_the_report(cli: Callable, here: Path, local, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text[:10])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(store, "write_synced", full)
    words = local.words("--method", "frozen", "--test-examples", "4", "--out", "deep/report")
    cli(*words).assert_refused(FAILURE, "no space left", "--out")
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes")]
)
def test_a_failure_in_the_middle_leaves_the_former_report(
    error: Exception, cli: Callable, here: Path, local, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = local.words("--method", "frozen", "--test-examples", "4", "--out", "report")
    done = cli(*words)
    assert done.code == 0, done.err
    before = {path: path.read_bytes() for path in (here / "report").rglob("*") if path.is_file()}

    def out_of_memory(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(parts, "at_start", out_of_memory)
    failed = cli(*words)
    assert failed.code == FAILURE and failed.out == ""
    assert failed.err.splitlines()[-2:] == [
        "edge-adapt: the report in report will be replaced when the new one is ready",
        "edge-adapt: error: not enough memory; use a smaller model or fewer methods at a time",
    ]
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before
