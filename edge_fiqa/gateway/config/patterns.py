"""Patterns of names in a gateway's configuration, and what each allows in words."""

from __future__ import annotations

NAME = r"^[A-Za-z0-9_-]{1,64}$"
OPTION = r"^[a-z0-9_]{1,40}$"
TOPIC = r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$"
HOST = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"
WEBSOCKET = r"^/[A-Za-z0-9/_.-]*$"

WORDS = {
    NAME: "a name of 1 to 64 letters, digits, - and _",
    OPTION: "a name of 1 to 40 small letters, digits and _",
    TOPIC: "letters, digits, - and _, with a / between levels",
    HOST: "a host name alone, without port or scheme",
    WEBSOCKET: "a path that begins with /, of letters, digits, /, _, . and -",
}
