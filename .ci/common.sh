# What the scripts of this folder share; to be sourced, from the root of the checkout.

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH PYTHONHOME SELFSUP_PLUGINS SELFSUP_PLUGINS_STRICT

step() { printf '\n== %s\n' "$1"; }

# Makes a fresh virtual environment with the interpreter $1 and enters it.
fresh_environment() {
  step "fresh virtual environment: $("$1" --version)"
  rm -rf "$scratch/venv"
  "$1" -m venv "$scratch/venv"
  export PATH="$scratch/venv/bin:$PATH" VIRTUAL_ENV="$scratch/venv"
  hash -r
}

# Runs a command that CONTRIBUTING.md gives, and fails where it gives it no longer.
documented() {
  grep -qxF "$1" CONTRIBUTING.md || { echo "CONTRIBUTING.md does not hold the command: $1" >&2; exit 1; }
  step "$1"
  bash -euo pipefail -c "$1"
}

# Runs the fast tests with the arguments given, then one task of each modality of the quick suite.
fast_checks() {
  step "the fast tests"
  pytest -n auto -q -m "not slow" "$@"
  step "one task of each modality"
  selfsup benchmark --seeds 1 --only '*/simclr' --only '*/clip' --out "$scratch/benchmark-$RANDOM"
}
