"""The check of words finds what it looks for, in the files that it names."""

import runpy
import subprocess
from pathlib import Path

CHECK = runpy.run_path(str(Path(__file__).parents[1] / ".ci/plain_words.py"))
WORD = "sh" + "all"


def test_a_word_that_readers_stumble_over_is_found_and_explained(tmp_path, capsys):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "a.py").write_text(f"# It {WORD} run.\nshallow = 1\n")
    (tmp_path / "CHANGELOG.md").write_text(f"It {WORD} stay.\n")
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    assert CHECK["main"](tmp_path) == 1
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"a.py:1: {WORD!r}: legal English")
    (tmp_path / "a.py").write_text("# It runs.\n")
    assert CHECK["main"](tmp_path) == 0
