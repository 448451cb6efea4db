#!/usr/bin/env bash
# A checkpoint of your own becomes a bundle, and scores faces:
#
#     pip install 'edge-fiqa[build]'
#     examples/own_model.sh model.safetensors FACES BUNDLE
#
# FACES: a folder with 100 or more aligned 112x112 faces, good and bad ones. From them come the 0-100 scale,
# the ranges of INT8, and the table that says how near the bundle is to the checkpoint at every exit.
set -euo pipefail
checkpoint=$1 faces=$2 bundle=$3

edge-fiqa build "$checkpoint" -o "$bundle" --calibration-images "$faces" # FP32; or --precision int8
edge-fiqa info "$bundle"
edge-fiqa score "$faces" --bundle "$bundle" --format ndjson --output "$bundle.ndjson"
