"""Fail where a word comes back that readers stumble over. Each has a reason, and what to write instead.

Looked at are all tracked .py, .md, .toml and .txt files but the changelogs, whose history stays as it was written.
"""

import re
import subprocess
import sys
from pathlib import Path

# Word pattern to the reason; multi-word patterns match within a line.
WORDS = {
    "shall": "legal English: write the present tense, or 'must'",
    "whence|thereof|hereby|lest|ere": "archaic",
    "foretell|foretells|foretold|foretelling": "the field says 'predict'",
    "be had": "say what can be done: 'can be loaded', 'is available'",
    "mend|mends|mended|mending": "the field says 'fix' or 'repair'",
    "parted": "write 'split' or 'divided'",
    "spoil|spoils|spoiled|spoiling": "the field says 'corrupt'",
    "of which": "make it two sentences",
    "where there is none": "name the case: 'without a mask', 'if no file exists'",
    "and no more": "write 'only'",
    "is told apart|are told apart": "write 'differ', 'are distinguished' or 'classify'",
    "to be told": "write 'to predict' or 'to classify'",
}
PATTERN = re.compile("|".join(rf"\b(?:{words})\b" for words in WORDS), re.IGNORECASE)


def why(word: str) -> str:
    """The reason that a word is not wanted."""
    return next(reason for words, reason in WORDS.items() if re.fullmatch(words, word, re.IGNORECASE))


def main(root: Path) -> int:
    """Print where such words stand; 1 if there are any, else 0."""
    command = ["git", "ls-files", "*.py", "*.md", "*.toml", "*.txt"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    found = 0
    for name in listed.stdout.splitlines():
        path = root / name
        if path.name == "CHANGELOG.md" or path == Path(__file__) or not path.exists():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for match in PATTERN.finditer(line):
                found += 1
                sys.stdout.write(f"{name}:{number}: {match.group()!r}: {why(match.group())}.\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).parents[1]))
