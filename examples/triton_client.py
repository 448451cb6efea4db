"""Score aligned 112x112 faces on a gateway, with NVIDIA's client for Triton and KServe (v2):

    pip install 'tritonclient[http]'
    python examples/triton_client.py 127.0.0.1:8080 FACE.png ...

A gateway with a token wants it as a header: headers={"Authorization": "Bearer ..."} of each call.
"""

import json
import sys

import numpy as np
import tritonclient.http as triton

from edge_fiqa import FaceReader

MODEL = "edge-fiqa-nano"


def main(address: str, paths: list[str]) -> None:
    reader = FaceReader()  # of aligned crops
    faces = np.stack(
        [reader.faces_of(path)[0].crop for path in paths]
    )  # (N, 112, 112, 3) uint8 RGB
    image = triton.InferInput("image", list(faces.shape), "UINT8")
    image.set_data_from_numpy(faces)
    with triton.InferenceServerClient(address) as client:
        result = client.infer(MODEL, [image])
    records = [json.loads(record) for record in result.as_numpy("record")]
    for path, quality, record in zip(paths, result.as_numpy("quality"), records, strict=True):
        print(int(quality), record["quality"]["code"], path)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
