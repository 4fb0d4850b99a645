"""`edge-adapt methods`: the published counts and the list, as JSON and as tables."""

import itertools
import json

from edge_adapt import cli
from edge_adapt.methods import METHODS

COUNT = ["methods", "count", "--model", "flan-t5-large", "--method", "lorafusion", "--rank", "16", "--pool-size", "20"]


def test_count_as_json(capsys):
    assert cli.main([*COUNT, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["trained_parameters"] == 148_416
    assert record["breakdown"] == {"coefficients": 960, "magnitudes": 147_456}
    assert record["lora_trained_parameters"] == 4_718_592
    assert record["weights_in_cells_rewritten"] == 0


def test_count_as_table(capsys):
    assert cli.main(COUNT) == 0
    out = capsys.readouterr().out
    for number in ("148,416", "4,718,592", "147,456", "960", "3.15%"):
        assert number in out


def test_options_of_a_method(capsys):
    words = ["methods", "count", "--model", "bert-large-cased", "--method"]
    assert cli.main([*words, "pasta", "--special-tokens", "3", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["trained_parameters"], record["special_tokens"]) == (73_728, 3)
    assert cli.main([*words, "pasta", "--special-tokens", "2"]) == 0
    assert "49,152" in capsys.readouterr().out
    assert cli.main([*words, "lora", "--special-tokens", "2"]) == 2
    assert "unknown option 'special_tokens' of lora" in capsys.readouterr().err


def test_list(capsys):
    assert cli.main(["methods", "list", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)["methods"]
    assert sorted(record["name"] for record in records) == sorted(METHODS)
    families = [record["family"] for record in records]
    assert len(list(itertools.groupby(families))) == len(set(families)), "family by family"
    by_name = {record["name"]: record for record in records}
    assert by_name["lorafusion"]["placements"] == ["DIGITAL"]
    assert by_name["lora"]["placements"] == ["NVM_STEP", "NVM_TASK", "DIGITAL"]
    assert by_name["probe"]["backward_need"] == "NONE"
    assert by_name["full"]["backward_need"] == "FULL"
    assert by_name["lora"]["recipe_search"] == "recipe_search.json" and by_name["frozen"]["trains"] is False
    assert cli.main(["methods", "list"]) == 0
    assert "lorafusion" in capsys.readouterr().out


def test_wrong_names(capsys):
    assert cli.main(["methods", "count", "--model", "minilm", "--method", "loar"]) == 2
    assert "did you mean 'lora'" in capsys.readouterr().err
    assert cli.main(["methods", "count", "--model", "flan-t5-lrge", "--method", "lora"]) == 2
    assert "flan-t5-large" in capsys.readouterr().err
