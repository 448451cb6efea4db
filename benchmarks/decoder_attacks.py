"""What hostile pictures of up to 8 MB cost: processor time and memory of decoding each, or the refusal.

    python benchmarks/decoder_attacks.py --output benchmarks/results/NAME.json
    python benchmarks/decoder_attacks.py --light    the dearest that are decoded where they are read

Each is decoded in a process of its own, which is ended after --most seconds of processor time.
"""

import io
import json
import os
import re
import resource
import struct
import time
import zlib

from common import new_result, parser, write_result
from PIL import Image

import edge_fiqa.faces.pillow_images  # noqa: F401, loaded before the time is taken
from edge_fiqa.errors import ImageRefused
from edge_fiqa.faces.container_checks import LIGHT_BYTES, LIGHT_PASSES, checked_header
from edge_fiqa.faces.images import picture_of

SIZE = 8_000_000
MEGAPIXELS = 16


def main():
    options = parser(__doc__)
    options.add_argument("--most", type=int, default=20, help="seconds of processor time for each")
    options.add_argument("--light", action="store_true", help="files below the bounds of score")
    options = options.parse_args()
    result = new_result("what hostile pictures cost to decode")
    result["pictures"] = {}
    for name, make in (LIGHT if options.light else ATTACKS).items():
        data = make()
        megapixels = 250 if options.light else MEGAPIXELS
        spent = {"bytes": len(data), **cost(data, options.most, megapixels)}
        if options.light:
            header = checked_header(data, name, megapixels * 10**6)
            assert len(data) <= LIGHT_BYTES, name
            assert header.pixel_passes <= LIGHT_PASSES, name
        result["pictures"][name] = spent
        print(name, spent, flush=True)
    write_result(result, options.output)


def cost(data, most_s, megapixels=MEGAPIXELS):
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        resource.setrlimit(resource.RLIMIT_CPU, (most_s, most_s))
        before, began = peak_mb(), time.process_time()
        try:
            result = "decoded {1}x{0}".format(
                *picture_of(data, "it", megapixels * 10**6).pixels.shape
            )
        except ImageRefused as refusal:
            result = str(refusal)
        spent = round(time.process_time() - began, 2)
        answer = {"s": spent, "mb": peak_mb() - before, "result": result}
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 10_000)
    os.close(reader)
    os.waitpid(child, 0)
    return json.loads(answer) if answer else {"s": f"more than {most_s}", "result": "ended"}


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000


def encoded(form, size=(64, 64), mode="RGB", noise=True, **more):
    image = Image.effect_noise(size, 50) if noise else Image.new("L", size, 128)
    out = io.BytesIO()
    image.convert(mode).save(out, form, **more)
    return out.getvalue()


def scans(count, side=4000):
    data = encoded("JPEG", (side, side), "L", noise=False, progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * (count - len(re.findall(b"\xff\xda", data))) + b"\xff\xd9"


def after_start(data, inserted, at=2):
    return data[:at] + inserted + data[at:]


def chunk(kind, body=b""):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks, mode="RGB"):
    return after_start(encoded("PNG", mode=mode), b"".join(chunks), 33)


def zipped(kind, head):
    return chunk(kind, head + zlib.compress(bytes(1_000_000_000), 1))


def animated_webp():
    frame = encoded("WEBP", (16, 16), quality=1)[12:]
    part = bytes(6) + (15).to_bytes(3, "little") * 2 + bytes(4) + frame
    part = b"ANMF" + struct.pack("<I", len(part)) + part
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + (3999).to_bytes(3, "little") * 2
    body = b"WEBP" + canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6) + part * (SIZE // len(part))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff_tiles(count=360_000):
    """Of one pixel each, all at the same place."""
    rows = [(256, 4, 1, 60_000), (257, 4, 1, 6), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
            (277, 3, 1, 1), (322, 4, 1, 1), (323, 4, 1, 1), (324, 4, count, 200),
            (325, 4, count, 200 + 4 * count)]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *row) for row in rows)
    head = b"II*\0" + struct.pack("<IH", 8, len(rows)) + directory
    return head.ljust(200, b"\0") + struct.pack("<I", 200) * count + struct.pack("<I", 1) * count


def jpeg2000_tiles():
    return encoded("JPEG2000", (1000, 1000), "L", tile_size=(4, 4), num_resolutions=1)


ATTACKS = {
    "a plain JPEG of 16 megapixels, 10 scans": lambda: scans(10),
    "JPEG, 64 scans": lambda: scans(64),
    "JPEG, 5000 scans": lambda: scans(5000),
    "JPEG, fill bytes": lambda: after_start(encoded("JPEG"), b"\xff" * SIZE),
    "JPEG of CMYK, fill bytes": lambda: after_start(encoded("JPEG", mode="CMYK"), b"\xff" * SIZE),
    "PNG, empty chunks": lambda: png(chunk(b"teSt") * (SIZE // 12)),
    "PNG with a palette, empty chunks": lambda: png(chunk(b"teSt") * (SIZE // 12), mode="P"),
    "PNG, IDAT without use": lambda: after_start(encoded("PNG"), chunk(b"IDAT", bytes(SIZE)), -12),
    "PNG, 1 GB in zTXt": lambda: png(zipped(b"zTXt", b"a\0\0")),
    "PNG, 1 GB in iCCP": lambda: png(zipped(b"iCCP", b"a\0\0")),
    "TIFF, tiles of one pixel": tiff_tiles,
    "WebP, many frames on 16 megapixels": animated_webp,
    "JPEG 2000, small tiles": jpeg2000_tiles,
    "PPM in text, comments": lambda: b"P3\n100 100\n255\n" + b"#a\n" * (SIZE // 3) + b"1 " * 30_000,
    "PPM, one long comment": lambda: b"P6\n#" + b"a" * SIZE + b"\n10 10\n255\n" + b"0" * 300,
    "AVIF, 16 megapixels": lambda: encoded("AVIF", (4000, 4000), noise=False),
}  # fmt: skip

LIGHT = {
    "JPEG, 250 megapixels": lambda: encoded("JPEG", (16000, 15600), noise=False),
    "JPEG of CMYK, 250 megapixels": lambda: encoded("JPEG", (16000, 15600), "CMYK", noise=False),
    "JPEG, 10 scans of noise": lambda: encoded("JPEG", (7700, 7700), progressive=True, quality=96),
    "JPEG, 64 scans": lambda: scans(64, 3000),
    "PNG, 4600x4600 of noise": lambda: encoded("PNG", (4600, 4600), compress_level=1),
    "PNG, 8600x8600": lambda: encoded("PNG", (8600, 8600), noise=False),
    "PNG of RGBA, 8600x8600": lambda: encoded("PNG", (8600, 8600), "RGBA", noise=False),
    "PNG with a palette, 8600x8600": lambda: encoded("PNG", (8600, 8600), "P", noise=False),
}  # fmt: skip
"""At LIGHT_BYTES or at LIGHT_PASSES."""


if __name__ == "__main__":
    main()
