import json
from pathlib import Path

import numpy as np
import pytest

from selfsup.cli.output import emit, plain, print_table, progress_console


def test_plain_turns_results_into_json_values():
    value = {"path": Path("a/b"), "pair": (1, 2.5), "names": {"b", "a"}, 3: np.float32(0.5), "row": np.arange(3), "none": None}
    assert plain(value) == {"path": "a/b", "pair": [1, 2.5], "names": ["a", "b"], "3": 0.5, "row": [0, 1, 2], "none": None}


def test_numbers_that_json_lacks_become_null():
    assert plain([float("nan"), float("inf"), np.float64("nan"), 1.0]) == [None, None, None, 1.0]


def test_what_has_no_json_form_is_refused():
    with pytest.raises(TypeError, match="object has no JSON form"):
        plain(object())


def test_json_comes_instead_of_the_text(capsys):
    emit({"müller": 1}, as_json=True, text=lambda: print("text"))  # noqa: T201  # stands for any output
    out = capsys.readouterr().out
    assert json.loads(out) == {"müller": 1}
    assert "müller" in out


def test_text_comes_where_json_is_not_asked_for(capsys):
    emit({"a": 1}, as_json=False, text=lambda: print("text"))  # noqa: T201  # stands for any output
    emit("a sentence", as_json=False)
    assert capsys.readouterr().out == "text\na sentence\n"


def test_a_table_in_a_pipe_is_never_cut_or_interpreted(capsys):
    print_table(["ID", "SUMMARY"], [["x", "[bold]" + "long " * 100]])
    assert capsys.readouterr().out.splitlines() == ["ID\tSUMMARY", "x\t[bold]" + "long " * 100]


def test_progress_goes_to_stderr(capsys):
    progress_console().print("busy")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "busy\n")
