"""Waiting for what happens in another thread or process: with an end, and without a fixed pause."""

import time
import urllib.error
import urllib.request


def until(condition, seconds=200.0):
    """Wait for it to be true, and return what it was."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)
    return result


def is_ready(address):
    """Whether a server answers there with 200."""
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except urllib.error.HTTPError as answer:
        answer.close()
        return False
    except OSError:
        return False


def until_more(count, by):
    """Wait until `count()` is so much larger than it is now."""
    before = count()
    until(lambda: count() >= before + by)
