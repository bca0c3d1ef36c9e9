#!/bin/sh
# Makes the environment in the folder that is named: torch first, then the rest around it.
# Machines with an NVIDIA driver get the newest torch, others the version of constraints.txt.
set -eu
folder=$1
python=${PYTHON:-python3}
"$python" - <<'CHECK' || exit 1
import sys
if sys.version_info < (3, 11):
    sys.exit("scumble needs Python 3.11 or newer; set PYTHON=/path/to/one and run make again")
CHECK
"$python" -m venv "$folder"
pip="$folder/bin/python -m pip --disable-pip-version-check --quiet"
if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >/dev/null 2>&1; then
    $pip install "torch>=2.11"
    $pip install --editable ".[dev]"
else
    $pip install --constraint constraints.txt torch
    $pip install --constraint constraints.txt --editable ".[dev]"
fi
touch "$folder/.installed"
