#!/usr/bin/env bash
# Makes .venv with the exact pins of requirements.lock. Does nothing when they are already there.
#   GPU=1     the CUDA builds of torch and TensorFlow instead of the CPU ones
#   PYTHON    the interpreter to build on (default python3.11)
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3.11}
GPU=${GPU:-0}
stamp=.venv/.tideline-installed
wanted="$( (cat requirements.lock pyproject.toml; echo "GPU=$GPU") | { sha256sum 2>/dev/null || shasum -a 256; } | cut -d' ' -f1)"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

command -v "$PYTHON" >/dev/null || { echo "setup: no $PYTHON here; install Python 3.11 or name it: make run PYTHON=/path/to/python3.11" >&2; exit 1; }
"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "setup: $PYTHON is $("$PYTHON" -V); tideline's pins are for Python 3.11" >&2; exit 1; }

start=$SECONDS
echo "setup: installing the pinned packages into .venv (once; several GB on disk, so this takes a while)"
[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
pip=(.venv/bin/python -m pip --disable-pip-version-check)
"${pip[@]}" install --quiet "uv==$(sed -n 's/^# uv==//p' requirements.lock)"

# uv reads none of pip's settings; a folder of wheels named there is passed on.
options=()
while read -r folder; do [ -n "$folder" ] && options+=(--find-links "$folder"); done < <(
  "${pip[@]}" config list | sed -nE "s/^.*find-links='([^']*)'.*$/\1/p" | tr ' ' '\n' | sort -u)

pins=requirements.lock
if [ "$GPU" = 1 ]; then
  pins=.venv/requirements-gpu.txt
  sed -E 's/^tensorflow-cpu==([0-9.]+).*/tensorflow[and-cuda]==\1/' requirements.lock > "$pins"
  options=()   # a local folder of wheels may hold a CPU build of torch
fi
export UV_LINK_MODE=${UV_LINK_MODE:-hardlink} UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-300}
# Compiled here, by all cores: each stage is a process, and none should compile its imports again (nor can they
# keep what they compiled where PYTHONDONTWRITEBYTECODE is set).
install_pins() { .venv/bin/uv pip install --compile-bytecode --python .venv/bin/python "${options[@]}" -r "$pins"; }
# In a log nobody reads a line for each package; sed leaves the status of uv to pipefail.
if [ -t 2 ]; then install_pins; else install_pins 2>&1 | sed '/^ + /d' >&2; fi
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
echo "$wanted" > "$stamp"
echo "setup: $(.venv/bin/uv pip list --quiet --python .venv/bin/python 2>/dev/null | tail -n +3 | wc -l) packages, $(du -sh .venv | cut -f1) in .venv, $((SECONDS - start)) s"
