#!/usr/bin/env bash
# Fetches what on_gpu.sh needs into benchmarks/wheels, for a machine without a network.
#
#   benchmarks/on_gpu_wheels.sh [PYTHON_VERSION]      default 3.12; Linux, x86-64
#
# What that machine has (torch, onnxruntime, onnx, numpy, cupy) is not fetched. PyCUDA comes as its source
# and is compiled there. Fails where all of it takes more than 60 MiB.
set -euo pipefail
cd "$(dirname "$0")"
version=${1:-3.12} limit_kib=$((60 * 1024))
pip=("${PYTHON:-python3}" -m pip download --quiet --disable-pip-version-check --no-deps -d wheels)
platform=(--platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 --platform manylinux_2_17_x86_64
    --platform manylinux_2_27_x86_64 --platform any)
rm -rf wheels
grep -vE '^(#|pycuda|numpy)' on_gpu.txt > wheels.txt
printf '%s\n' setuptools wheel iniconfig packaging pluggy siphash24 markupsafe typing-extensions >> wheels.txt
"${pip[@]}" --only-binary :all: --python-version "$version" "${platform[@]}" -r wheels.txt
"${pip[@]}" --no-binary pycuda pycuda
rm wheels.txt
taken_kib=$(du -sk wheels | cut -f 1)
echo "wheels: $(find wheels -type f | wc -l) files, $((taken_kib / 1024)) MiB"
if [ "$taken_kib" -gt "$limit_kib" ]; then
    echo "wheels: more than $((limit_kib / 1024)) MiB" >&2
    exit 1
fi
