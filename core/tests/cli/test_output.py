"""What commands print."""

import json
from pathlib import Path

import numpy as np
import pytest

from selfsup.cli.output import emit, plain, print_table, progress_console


def test_results_become_json_values_and_what_json_lacks_null():
    value = {"path": Path("a/b"), "pair": (1, 2.5), "names": {"b", "a"}, 3: np.float32(0.5), "row": np.arange(3), "none": None}
    assert plain(value) == {"path": "a/b", "pair": [1, 2.5], "names": ["a", "b"], "3": 0.5, "row": [0, 1, 2], "none": None}
    assert plain([float("nan"), float("inf"), np.float64("nan"), 1.0]) == [None, None, None, 1.0]
    with pytest.raises(TypeError, match="object has no JSON form"):
        plain(object())


def test_json_or_text(capsys):
    emit({"müller": 1}, as_json=True, text=lambda: pytest.fail("no text is asked for"))
    out = capsys.readouterr().out
    assert (json.loads(out), "müller" in out) == ({"müller": 1}, True)
    emit({"a": 1}, as_json=False, text=lambda: print("text"))  # noqa: T201  # stands for any output
    emit("a sentence", as_json=False)
    assert capsys.readouterr().out == "text\na sentence\n"


def test_a_table_in_a_pipe_is_never_cut_or_interpreted_and_progress_goes_to_stderr(capsys):
    print_table(["ID", "SUMMARY"], [["x", "[bold]" + "long " * 100]])
    assert capsys.readouterr().out.splitlines() == ["ID\tSUMMARY", "x\t[bold]" + "long " * 100]
    progress_console().print("busy")
    assert tuple(capsys.readouterr()) == ("", "busy\n")
