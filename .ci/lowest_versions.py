"""Write a requirements file with the lowest versions of all direct dependencies, and say which lower bounds it does not reach.

The resolver prefers the newest indirect dependencies, and raises a direct one where the two do not fit. So each direct one that
came out higher is asked for once more at its lower bound. What then cannot be resolved is a bound that nobody gets to see.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

PROJECTS = [Path("pyproject.toml"), *sorted(Path().glob("*/pyproject.toml")), *sorted(Path().glob("plugins/*/pyproject.toml"))]


def lower_bounds() -> dict[str, str]:
    """Name of each direct dependency to its highest lower bound."""
    bounds: dict[str, str] = {}
    for path in PROJECTS:
        project = tomllib.loads(path.read_text())["project"]
        lines = project["dependencies"] + (project["optional-dependencies"]["test"] if path == PROJECTS[0] else [])
        for line in lines:
            found = re.match(r"([\w.-]+)\s*(?:>=|==)\s*([\w.]+)", line)
            if found and not found[1].startswith("selfsup"):
                bounds[found[1]] = max(bounds.get(found[1], "0"), found[2], key=numbers)
    return bounds


def numbers(version: str) -> list[int]:
    """``1.10.0`` as [1, 10, 0]."""
    return [int(part) for part in re.findall(r"\d+", version)]


def resolve(constraints: list[str]) -> dict[str, str] | None:
    """Name to version of everything to install, or None where there is no solution."""
    with tempfile.NamedTemporaryFile("w+", suffix=".txt") as file:
        file.write("\n".join(constraints))
        file.flush()
        done = subprocess.run(
            ["uv", "pip", "compile", "--quiet", "--resolution", "lowest-direct", "--python-version", "3.11", "--no-annotate",
             "--no-header", "--extra", "test", "--constraint", file.name, "pyproject.toml"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        if not constraints:
            sys.exit(done.stderr)
        return None
    return dict(line.split(";")[0].strip().split("==") for line in done.stdout.splitlines() if "==" in line)


def main() -> None:
    """See the module."""
    bounds, constraints = lower_bounds(), []
    solution = resolve(constraints) or {}
    missed = []
    for name, bound in sorted(bounds.items()):
        wanted = f"{name}=={bound}.*" if len(numbers(bound)) < 3 else f"{name}=={bound}"
        if numbers(solution[name])[: len(numbers(bound))] == numbers(bound):
            continue
        better = resolve([*constraints, wanted])
        if better is None:
            missed.append(f"{name} {solution[name]} (the pyprojects admit {bound}; another requirement does not)")
        else:
            constraints, solution = [*constraints, wanted], better
    for line in [f"{name} {solution[name]}" for name in sorted(bounds)] + missed:
        sys.stdout.write(line + "\n")
    Path(sys.argv[1]).write_text("".join(f"{name}=={version}\n" for name, version in sorted(solution.items())))


if __name__ == "__main__":
    main()
