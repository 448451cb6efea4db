"""Waiting for what happens in another thread or process: with an end, and without a fixed pause."""

import time


def until(condition, seconds=200.0):
    """Wait for it to be true, and return what it was."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)
    return result


def until_more(count, by):
    """Wait until `count()` is so much larger than it is now."""
    before = count()
    until(lambda: count() >= before + by)
