"""Processes that decode untrusted pictures, each within its time (docs/decisions/0037)."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Collection

import numpy as np

from edge_fiqa.errors import ImageRefused, Overloaded
from edge_fiqa.faces.decoder_process import ANSWER, REQUEST, TEXT_BYTES, command, receive
from edge_fiqa.faces.images import DecodedImage
from edge_fiqa.types import Bytes

log = logging.getLogger(__name__)

DECODERS = 2
"""Processes, at most; each has about 70 MB beside its picture. The first starts at once."""
DECODE_S = 5.0
"""A picture that takes longer is refused, and its decoder ended."""
START_S = 30.0
"""For a decoder to load its libraries, on a slow and busy machine."""
GRACE_S = 1.0
ENDED = "its decoder ended; save it as another JPEG or PNG"
SLOW = "it takes longer than {:g} s to decode; save it as another JPEG or PNG"
STOPPING = "decoding was stopped"
UPLOAD = "the upload"


class Decoders:
    """Decodes in other processes, from any thread. `close` ends them at once, whatever they do."""

    def __init__(
        self,
        count: int = DECODERS,
        decode_s: float = DECODE_S,
        command: Callable[[], list[str]] = command,
    ) -> None:
        self.decode_s, self._command = decode_s, command
        self._places = threading.Semaphore(count)
        self._lock = threading.Lock()
        self._idle: list[_Decoder] = []
        self._all: set[_Decoder] = set()
        self._busy: dict[int, _Decoder] = {}  # by the thread that waits for it
        self._closed = False
        self._idle.append(self._start())

    def decode(self, data: bytes, max_pixels: int) -> Bytes:
        """(H, W, 3) uint8 RGB of an upload, as `picture`."""
        return self.picture(data, UPLOAD, max_pixels).pixels

    def picture(self, data: bytes, name: str, max_pixels: int) -> DecodedImage:
        """As images.picture_of. Raises ImageRefused("unreadable"); Overloaded where none can start."""
        with self._places:
            decoder = self._take()
            try:
                with self._lock:
                    self._busy[threading.get_ident()] = decoder
                picture = decoder.decode(data, name, max_pixels, self.decode_s)
            except ImageRefused:
                self._give_back(decoder)
                raise
            except (EOFError, OSError) as exc:
                self._end(decoder)
                if self._closed:
                    raise Overloaded(STOPPING) from exc
                slow = isinstance(exc, TimeoutError) or decoder.ended_by_alarm
                reason = SLOW.format(self.decode_s) if slow else ENDED
                raise ImageRefused("unreadable", f"{name}: {reason}") from exc
            except BaseException:  # such as Ctrl-C: nobody waits for its answer any more
                self._end(decoder)
                raise
            self._give_back(decoder)
            return picture

    def end_those_of(self, threads: Collection[int]) -> None:
        """End what these threads (`threading.get_ident`) wait for: they wait no more."""
        with self._lock:
            for thread in threads:
                if (decoder := self._busy.get(thread)) is not None:
                    decoder.kill()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for decoder in self._all:
                decoder.kill()  # the thread that waits for it frees it
        for decoder in idle:
            self._end(decoder)

    def _take(self) -> _Decoder:
        with self._lock:
            while self._idle:
                decoder = self._idle.pop()
                if decoder.alive:
                    return decoder
                self._all.discard(decoder)
                decoder.end()
        return self._start()

    def _start(self) -> _Decoder:
        try:
            decoder = _Decoder(self._command())
        except OSError as exc:
            log.warning("no process that decodes pictures can be started: %s", exc.strerror)
            raise Overloaded("no decoder can be started now") from exc
        with self._lock:
            if not self._closed:
                self._all.add(decoder)
                return decoder
        decoder.end()
        raise Overloaded(STOPPING)

    def _give_back(self, decoder: _Decoder) -> None:
        """For the next one, unless it was ended meanwhile: it may seem alive for a moment."""
        with self._lock:
            self._busy.pop(threading.get_ident(), None)
            if not self._closed and not decoder.killed:
                self._idle.append(decoder)
                return
        self._end(decoder)

    def _end(self, decoder: _Decoder) -> None:
        with self._lock:
            self._busy.pop(threading.get_ident(), None)
            self._all.discard(decoder)
        decoder.end()


class _Decoder:
    """One process. A thread at a time, but for `end`."""

    def __init__(self, command: list[str]) -> None:
        self._channel, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # libjpeg writes a line for every flaw
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            )
        except BaseException:
            self._channel.close()
            raise
        finally:
            theirs.close()
        self._answered = self.killed = False

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def decode(self, data: bytes, name: str, max_pixels: int, seconds: float) -> DecodedImage:
        """Raises ImageRefused, EOFError where the process ended, OSError (TimeoutError)."""
        began = time.monotonic()
        until = began + seconds + (GRACE_S if self._answered else START_S)
        self._channel.settimeout(until - began)
        called = name.encode("utf-8", "replace")
        self._channel.sendall(REQUEST.pack(len(data), len(called), max_pixels, seconds))
        self._channel.sendall(called)
        self._channel.sendall(data)
        answer = ANSWER.unpack(receive(self._channel, ANSWER.size, until))
        height, width, reduced, length = answer
        self._answered = True
        if length > TEXT_BYTES or height * width > max_pixels:
            raise EOFError
        text = receive(self._channel, length, until).decode("utf-8", "replace")
        if not height:
            raise ImageRefused("unreadable", text)
        pixels = receive(self._channel, height * width * 3, until)
        image = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
        return DecodedImage(image, reduced, tuple(text.split("\0")) if text else ())

    @property
    def ended_by_alarm(self) -> bool:
        """It sets one for every picture. To be asked after `end`."""
        return self._process.returncode == -signal.SIGALRM

    def kill(self) -> None:
        """From any thread: who waits for an answer gets EOFError."""
        self.killed = True
        self._process.kill()

    def end(self) -> None:
        self.kill()
        self._process.wait()
        self._channel.close()
