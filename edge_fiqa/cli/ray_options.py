"""The flags of `edge-fiqa score --on ray`."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_fiqa.cli.options import check_none_given
from edge_fiqa.errors import ConfigError

PER_FILE = 2000
OF_RAY = ("address", "gpus", "per_file", "image_column", "id_column", "summary")


def add_ray_arguments(parser: argparse.ArgumentParser) -> None:
    ray = parser.add_argument_group("many machines")
    ray.add_argument(
        "--on",
        choices=("ray",),
        help="many workers, on this machine or a cluster; PATH may also be a glob, Parquet files or "
        "tars of pictures, here or at a URI such as s3://; --output is a folder of Parquet files",
    )
    ray.add_argument(
        "--address", metavar="auto|HOST:PORT", help="of a cluster (default: only this machine)"
    )
    ray.add_argument("--gpus", type=float, metavar="G", help="of each worker (1 for trt and rtx)")
    ray.add_argument(
        "--per-file", type=int, metavar="N", help=f"pictures of one Parquet file ({PER_FILE})"
    )
    ray.add_argument("--image-column", metavar="NAME", help="Parquet: of the pictures")
    ray.add_argument("--id-column", metavar="NAME", help="Parquet: of unique names")
    ray.add_argument(
        "--summary", type=Path, metavar="PAGE.html", help="what the set holds, as one page"
    )


def check_ray_flags(options: argparse.Namespace) -> None:
    """Raise ConfigError for a flag of Ray, or a URI, without --on ray. A URI may hold a password."""
    check_none_given(options, OF_RAY, "is about --on ray, which is not given")
    for name in options.inputs:
        scheme, mark, _ = name.partition("://")
        if mark and scheme.isalnum() and not Path(name).exists():
            raise ConfigError(f"{scheme}://...: a URI is read with --on ray only")
