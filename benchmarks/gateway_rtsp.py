"""An RTSP server that plays a MJPG video file to every client, from its beginning.

    /usr/bin/python3 benchmarks/gateway_rtsp.py PORT FILE

Runs under the system's Python with Debian's gir1.2-gst-rtsp-server-1.0, gstreamer1.0-plugins-good and
python3-gi. OpenCV's JPEGs have Huffman tables of their own, which RTP does not carry: frames are
encoded anew.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PLAY = (
    "( filesrc location={} ! avidemux ! jpegdec ! videoconvert ! video/x-raw,format=I420 "
    "! jpegenc ! rtpjpegpay name=pay0 pt=26 )"
)


def main(port: str, file: str) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer(address="127.0.0.1", service=port)
    factory = GstRtspServer.RTSPMediaFactory(launch=PLAY.format(file), shared=False)
    server.get_mount_points().add_factory("/stream", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
