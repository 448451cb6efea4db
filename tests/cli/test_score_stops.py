"""A run that is told to stop does not wait for a picture that takes long to decode."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faces.test_part_counts import encoded
from tests.waiting import until

HANGING = """
import sys
from pathlib import Path
from edge_fiqa.cli import main
from edge_fiqa.faces import costly_pictures
from edge_fiqa.faces.decoders import Decoders
from tests.faces.test_decoders import stand_in
folder = Path(sys.argv[1])
body = f"open({str(folder / 'began')!r}, 'x').close(); time.sleep(3600)"
costly_pictures._decoders = Decoders(1, 3600.0, stand_in(body))
sys.exit(main(["score", str(folder / "faces"), "--aligned", "--output", str(folder / "out.csv")]))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_ends_the_wait_for_a_decoder(tmp_path, number, status):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces/a.webp").write_bytes(encoded("WEBP", 112, 112))
    command = [sys.executable, "-c", HANGING, str(tmp_path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True) as process:
        try:
            until((tmp_path / "began").exists, 200)
            process.send_signal(number)
            _, error = process.communicate(timeout=200)
        finally:
            process.kill()
    assert process.returncode == status, error
    assert "stopped" in error
