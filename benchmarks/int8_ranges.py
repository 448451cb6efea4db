"""What INT8 loses under each way of finding its ranges, and with the worst layers left in float.

    python benchmarks/int8_ranges.py FACES --checkpoint nano=FILE --checkpoint small=FILE -o RESULT.json

FACES: of calibration/faces.py. Every variant is built and compared with float32 on the same faces.
"""

import argparse
import json
import tempfile
from pathlib import Path

from edge_fiqa.build import build_bundle
from edge_fiqa.cli.faces import read_faces
from edge_fiqa.config import BuildRecipe

VARIANTS = {
    "minmax": {"ranges": "minmax"},
    "percentile": {"ranges": "percentile"},
    "entropy": {"ranges": "entropy"},
    "minmax, stem in float": {"ranges": "minmax", "float_layers": ("stem",)},
    "minmax, stem and block 1 in float": {"ranges": "minmax", "float_layers": ("stem", "block1")},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path)
    parser.add_argument("--checkpoint", action="append", metavar="NAME=FILE", required=True)
    parser.add_argument("--limit", type=int, default=1200)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    faces = read_faces(options.faces, options.limit, "int8_ranges")
    result: dict = {"faces": len(faces.crops)}
    for name, file in (text.split("=", 1) for text in options.checkpoint):
        for variant, stated in VARIANTS.items():
            # One segment: exits are the same, and only the ranges are the question.
            recipe = BuildRecipe(
                precision="int8",
                segments="1",
                range_faces=128,
                threads=2,
                accept_imprecise=True,
                **stated,
            )
            with tempfile.TemporaryDirectory() as place:
                bundle = build_bundle(Path(file), Path(place) / "b", recipe, faces=faces)
                rows = bundle.manifest.parity.exits
            result[f"{name}, {variant}"] = {
                "least spearman": min(row.spearman for row in rows),
                "least agreement": min(row.agreement for row in rows),
                "agreement": {row.exit: round(row.agreement, 4) for row in rows},
                "within a point": {row.exit: round(row.within_a_point, 4) for row in rows},
            }
            print(name, variant, json.dumps(result[f"{name}, {variant}"]), flush=True)
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
