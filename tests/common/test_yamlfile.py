"""YAML as a person means it, and one reader for every YAML there is."""

import ast
import contextlib
import itertools
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import edge_adapt
import pytest
import yaml
from edge_adapt.commands.train import _read_config
from edge_adapt.devices import load_cell, load_chip, load_periphery
from edge_adapt.devices.presets import preset_folder
from edge_adapt.errors import UsageError
from edge_adapt.options_file import one_value, read_options
from edge_adapt.studies.compare_config import read_compare_config
from edge_adapt.studies.config import SimulateConfig, read_config
from edge_adapt.studies.count_config import read_count_config
from edge_adapt.workloads.named_shapes import load_shape
from edge_adapt.yamlfile import read, read_or_empty, switch
from hypothesis import example, given, settings
from hypothesis import strategies as st

ROOT = Path(edge_adapt.__file__).parent


def write(folder: Path, content: str | bytes, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_nobody_else_reads_yaml() -> None:
    """No part of the package calls yaml's own loaders."""
    found = []
    for path in ROOT.rglob("*.py"):
        if {"tests", ".venv", "build"} & set(path.relative_to(ROOT).parts) or path.name == "yamlfile.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                found += [str(path)] if "yaml" in names else []
    assert found == []


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("off", "off"), ("on", "on"), ("no", "no"), ("Yes", "Yes"), ("y", "y"),
        ("true", True), ("False", False), ('"true"', "true"), ("'off'", "off"),
        ("~", None), ("null", None), ("", None), ("nullify", "nullify"), ('""', ""), ('"null"', "null"),
        ("1", 1), ("-3", -3), ("+3", 3), ("1_000", 1000), ("0", 0), ('"1"', "1"),
        ("1e-6", 1e-6), ("1e3", 1e3), ("1.5", 1.5), (".5", 0.5), ("5.", 5.0), ("0.5", 0.5),
        ("-.5e+2", -50.0), ("0e0", 0.0),
        ("12:30", "12:30"), ("190:20:30", "190:20:30"), ("2024-01-01", "2024-01-01"), ("0x10", "0x10"), ("0b1", "0b1"),
        ("0o17", "0o17"), ("1e", "1e"), ("1,5", "1,5"), ("=", "="),
        ("[a, off, 1]", ["a", "off", 1]), ("{a: no}", {"a": "no"}),
    ],
)  # fmt: skip
def test_values_are_what_a_person_means(tmp_path: Path, written: str, value: object) -> None:
    found = read(write(tmp_path, f"key: {written}\n")).plain()["key"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", ":3: key 'a' stands twice in the file (first in line 1)"),
        ("a:\n  b: 1\n  'b': 2\n", ":3: key 'b' stands twice in a (first in line 2)"),
        ("a: [{b: 1, c: 2},\n {b: 1, b: 2}]\n", ":2: key 'b' stands twice in a"),
        ("a: 017\n", ":1: the number 017 starts with 0"),
        ("a: -010.5\n", ":1: the number -010.5 starts with 0"),
        ("a: .inf\n", ":1: .inf is no number"),
        ("a:\n- -.INF\n", ":2: -.INF is no number"),
        ("a: .nan\n", ":1: .nan is no number"),
        ("a: 1e999\n", ":1: the number 1e999 is too large"),
        ("a: &x 1\nb: *x\n", ":1: not valid YAML: anchors (&) and aliases (*) are not read"),
        ("a: *x\n", ":1: not valid YAML: anchors (&) and aliases (*)"),
        ("<<: {a: 1}\n", ":1: merge keys (<<) are not read"),
        ("a: !!python/object:os.system x\n", ":1: tags such as !!python/object:os.system are not read"),
        ("a: !!int 5\n", ":1: tags such as !!int are not read"),
        ("a:\n\tb: 1\n", ":2: not valid YAML: .* a tab stands there"),
        ("a: [\n", ": not valid YAML"),
        ("a: 1\n---\nb: 2\n", ": not valid YAML: but found another document"),
        ("[a, b]: 1\n", ":1: a key of the file must be a single value"),
        ("~: 1\n", ":1: a key of the file must be a single value"),
        ("a: x\0y\n", "holds a character that no text has"),
        (b"a: \xe9\n", "not a text file (byte 3 is not UTF-8)"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_what_is_unclear_is_refused_with_its_line(tmp_path: Path, content: str | bytes, said: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UsageError) as caught:
        read(path).plain()
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    assert all(part in message for part in said.split(" .* "))


READERS = {
    "cell": lambda path: load_cell(str(path)),
    "periphery": lambda path: load_periphery(str(path)),
    "chip": lambda path: load_chip(str(path)),
    "shape": load_shape,
    "simulate": read_config,
    "compare": read_compare_config,
    "count": read_count_config,
}
SHIPPED = {
    "cell": preset_folder("cell") / "reram.yaml",
    "periphery": preset_folder("periphery") / "isaac-32nm.yaml",
    "chip": preset_folder("chip") / "reram.yaml",
    "shape": ROOT / "workloads" / "shapes" / "minilm.yaml",
}
OPTIONS = {"simulate": "seeds: 2\n", "compare": "seeds: 2\n", "count": "tokens: 2\n"}


@pytest.mark.parametrize("kind", READERS)
def test_every_kind_of_file_refuses_a_doubled_key(tmp_path: Path, kind: str) -> None:
    text = SHIPPED[kind].read_text(encoding="utf-8") if kind in SHIPPED else OPTIONS[kind]
    first = next(line for line in text.splitlines() if line[:1].isalpha())
    path = write(tmp_path, f"{text.rstrip()}\n{first}\n")
    said = rf"{path}:{len(text.rstrip().splitlines()) + 1}: key '{first.partition(':')[0]}' stands twice"
    with pytest.raises(UsageError, match=said):
        READERS[kind](path)


BOMBS = {
    "aliases": "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in itertools.pairwise("abcdefghijkl")
    ),
    "merge": "a: {b: 1}\n<<: {c: 2}\n",
    "an alias of itself": "a: &a [*a]\n",
    "lists": "[" * 20_000,
    "maps": "{a: " * 30_000,
    "items": "- " * 60_000 + "a",
    "keys": "? " * 60_000 + "a",
    "indents": "".join(" " * n + "a:\n" for n in range(300)),
    "a tag": "seeds: !!int 'zz'\n",
    "an object": "seeds: !!python/object/apply:os.system ['true']\n",
    "binary": "seeds: !!binary 'zz'\n",
    "a date": "seeds: 2024-99-99\n",
    "digits": f"seeds: {'9' * 5000}\n",
    "an exponent": "seeds: 1e999999999\n",
    "sexagesimal": "seeds: 99999999:59:59\n",
    "many": "".join(f"a{n}: 1\n" for n in range(2_000)),
    "a quote": "seeds: '" + "a\n\n" * 8_000,
    "not finite": "seeds: .inf\n",
    "long": "# " * 100_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_in_one_line_by_every_reader(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, BOMBS[name])
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    every = (load_shape, *READERS.values(), _read_config)
    for read_it in every[: 1 if name in ("lists", "many") else None]:
        with pytest.raises(UsageError) as caught:
            read_it(path)
        assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
    assert time.process_time() - begun < 10


def test_spoilt_shapes(tmp_path: Path, mutants: Callable[[bytes, int], Iterator[bytes]]) -> None:
    for mutant in mutants(SHIPPED["shape"].read_bytes(), 60):
        path = write(tmp_path, mutant)
        with contextlib.suppress(UsageError):
            assert load_shape(path).hidden_size > 0


@pytest.mark.parametrize("kind", OPTIONS)
def test_two_spellings_of_an_option_are_one(tmp_path: Path, kind: str) -> None:
    name = {"count": "pool-size"}.get(kind, "test-examples")
    path = write(tmp_path, f"{name}: 6\n{name.replace('-', '_')}: 7\n")
    with pytest.raises(UsageError, match=rf"{path}:2: the option '\w+' is given twice \(first in {path}:1\)"):
        READERS[kind](path)
    path = write(tmp_path, "set:\n  chip.adc.bits: 6\n  adc.bits: 7\n")
    with pytest.raises(UsageError, match=rf"{path}:3: 'adc.bits' is set twice"):
        READERS[kind](path)


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("wrong", ["model: 3", "nonsense: 3", "set: 3", "model: [a]", "out: null", "out: 3", "- a"])
def test_wrong_options_name_their_line(tmp_path: Path, kind: str, wrong: str) -> None:
    path = write(tmp_path, f"# a comment\n{wrong}\n")
    with pytest.raises(UsageError, match=rf"^{path}:2: "):
        READERS[kind](path)


def test_settings_stay_as_they_are_written(tmp_path: Path) -> None:
    text = "set: {chip.array.wires: off, read.noise: null, adc.bits: 6, lora.recipe.epochs: 1e1, "
    text += "g_max: 50 uS, l: [0, 1e-3]}"
    assert dict(read_config(write(tmp_path, text)))["settings"] == (
        ("chip.array.wires", "off"), ("read.noise", "null"), ("adc.bits", "6"), ("lora.recipe.epochs", "1e1"),
        ("g_max", "50 uS"), ("l", "[0, 1e-3]"),
    )  # fmt: skip
    assert read_options(write(tmp_path, "# nothing\n")) == []
    assert read_or_empty(write(tmp_path, "")) is None


def test_wires_are_switched_off_by_the_word(tmp_path: Path) -> None:
    """YAML 1.1 makes `off` false, and a simulation with it was refused."""
    config = SimulateConfig(**read_config(write(tmp_path, "device: reram-wires\nset:\n  chip.array.wires: off\n")))
    assert load_chip("reram-wires").array.wires == "exact"
    assert load_chip(config.device, config.chip_settings()).array.wires == "none"
    assert load_chip("reram-wires", {"array.wires": "off", "drift_compensation": "off"}).array.wires == "none"
    text = (
        (preset_folder("chip") / "reram-wires.yaml").read_text(encoding="utf-8").replace("value: exact", "value: off")
    )
    path = write(tmp_path, text)
    for kind in ("cell", "periphery"):
        name = next(line.split()[1] for line in text.splitlines() if line.startswith(f"{kind}:"))
        path.write_text(path.read_text().replace(f"{kind}: {name}", f"{kind}: {preset_folder(kind) / name}.yaml"))
    assert load_chip(str(path)).array.wires == "none"


def test_one_value_for_one_key() -> None:
    assert one_value((("a", "1"), ("chip.b", "2")), (("b", "3"),)) == (("a", "1"), ("b", "3"))  # the command line wins
    assert one_value((), (("a", "1"), ("chip.a", "1"))) == (("a", "1"),)
    with pytest.raises(UsageError, match=r"--set chip.a=1 and --set a=2 set the same; give one of them"):
        one_value((), (("chip.a", "1"), ("a", "2")))
    with pytest.raises(UsageError, match=r"setting periphery.adc.bits=8: 'adc.bits' sets the same number"):
        load_chip("reram", {"adc.bits": "6", "periphery.adc.bits": "8"})
    with pytest.raises(UsageError, match="the same key is given with the value '6' too"):
        load_chip("reram", {"adc.bits": "6", "chip.adc.bits": "8"})


def test_switches() -> None:
    assert [switch(word) for word in ("on", "Yes", "off", "NO", "true", True)] == [True, True, False, False, True, True]
    assert [switch(word) for word in ("maybe", 1, None)] == ["maybe", 1, None]


@settings(max_examples=300, deadline=None)
@given(st.one_of(
    st.binary(max_size=60),
    st.lists(st.sampled_from(["a", "b", ":", " ", "\n", "- ", "[", "]", "{", "}", "&x", "*x", "<<", "!!int", "'", '"',
                              "|", ">", "#", "?", "%YAML 1.1\n", "---", "\t", "1e5", "off", "~", ",", "\\", "\x85",
                              "\ufeff"]),
             max_size=25).map(lambda parts: "".join(parts).encode()),
))  # fmt: skip
@example(b"? [a]\n: b")
def test_any_bytes_give_data_or_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes(content)
    try:
        found = read(path).plain()
    except UsageError as error:
        said = str(error)
        assert said.startswith(str(path)) and "\n" not in said
        return
    assert found is None or isinstance(found, str | int | float | bool | list | dict)
    yaml.safe_dump(found)
