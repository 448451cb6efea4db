"""Retained messages: what the broker should hold of this gateway, and what it still holds of before.

A broker keeps a retained message until an empty one replaces it.
So every topic is noted on disk before its first message, and emptied once it is no longer wanted:
of a camera that was renamed or removed, of another prefix, of discovery that was switched off.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Collection, Mapping

from edge_fiqa.gateway.outputs.mqtt_link import Answer, MqttLink
from edge_fiqa.gateway.outputs.spool import Spool

log = logging.getLogger(__name__)

REFUSED_S = 30.0
"""Before what a broker refused is sent again: somebody may have changed its ACL."""
GIVEN_UP_S = 3600.0
"""Before an emptying that was refused, or what was too large, is tried again."""
EMPTY = b""
Group = tuple[str, str]


class RetainedMessages:
    """For one thread.

    Topics with the same first and last level are a group. Until the broker has taken one of it, it
    gets one at a time: some brokers end the connection of who sends what they refuse.
    problem: why the broker does not take a wanted one; None: it takes all."""

    def __init__(self, spool: Spool, link: MqttLink) -> None:
        self._spool, self._link = spool, link
        self._noted = spool.retained()
        self._said: dict[str, bytes] = {}
        self._sent: dict[int, tuple[str, bytes]] = {}
        self._refused: dict[str, str] = {}
        self._taken: set[Group] = set()
        self._given_up: dict[tuple[str, bytes], float] = {}  # until when
        self._held: set[Group] = set()  # refused lately
        self._connection, self._again_at = 0, 0.0
        self._note_fails = False

    @property
    def problem(self) -> str | None:
        refused = next((f"{topic}: {why}" for topic, why in self._refused.items()), None)
        kept = next((topic for topic, payload in self._given_up if payload == EMPTY), None)
        return (
            refused if refused or kept is None else f"{kept}: the broker does not let it be emptied"
        )

    def hold(self, wanted: Mapping[str, bytes], kept: Collection[str] | None) -> None:
        """Send what the broker does not have, empty what is neither wanted nor kept.

        kept: topics whose message others send; None: what else there may be is not known yet.
        """
        if self._connection != self._link.connections:
            self._connection = self._link.connections
            self._said.clear()
        self._held = {_group(topic) for topic in self._refused}
        now = time.monotonic()
        self._given_up = {key: until for key, until in self._given_up.items() if until > now}
        if self._refused and now >= self._again_at:
            self._again_at = now + REFUSED_S
            topic = next(iter(self._refused))  # if the broker takes this one, its group follows
            self._refused[topic] = self._refused.pop(topic)  # another one comes first the next time
            self._held.discard(_group(topic))
            self._said.pop(topic, None)
        self._note({*wanted, *(kept or ())} - self._noted)
        for topic, payload in wanted.items():
            self._say(topic, payload)
        if kept is not None:
            gone = self._noted - wanted.keys() - set(kept)
            for topic in sorted(gone, key=lambda topic: (not topic.endswith("/config"), topic)):
                self._refused.pop(topic, None)
                self._say(topic, EMPTY)

    def take(self, answer: Answer) -> bool:
        """Whether the answer was to a message of these."""
        if answer.message not in self._sent:
            return False
        topic, payload = self._sent.pop(answer.message)
        if answer.refusal is not None:
            self._refuse(topic, payload, answer.refusal)
            return True
        self._taken.add(_group(topic))
        for other in [other for other in self._refused if _group(other) == _group(topic)]:
            del self._refused[other]
            self._said.pop(other, None)
        if payload == EMPTY == self._said.get(topic):
            try:
                self._spool.forget_retained(topic)
            except sqlite3.Error:
                return True  # it stays noted, and is emptied once more by the next connection
            self._noted.discard(topic)
            del self._said[topic]
        return True

    def forget_sent(self) -> None:
        """Nothing is on its way any more."""
        self._sent.clear()

    def _say(self, topic: str, payload: bytes) -> None:
        given_up = (topic, payload) in self._given_up
        if self._said.get(topic) == payload or given_up or not self._link.room:
            return
        group = _group(topic)
        asked = group not in self._taken and any(_group(t) == group for t, _ in self._sent.values())
        if group in self._held or asked:
            return
        if not self._link.fits(topic, payload):
            self._give_up(topic, payload)
            log.warning("mqtt: %s is skipped: larger than the broker takes", topic)
            return
        self._said[topic] = payload
        self._sent[self._link.publish(topic, payload, retain=True)] = topic, payload

    def _refuse(self, topic: str, payload: bytes, refusal: str) -> None:
        self._taken.discard(_group(topic))
        if payload == EMPTY:
            self._give_up(topic, payload)
            log.warning("mqtt: the broker does not let %s be emptied: %s", topic, refusal)
            return
        if topic not in self._refused:
            log.warning("mqtt: the broker refuses %s: %s", topic, refusal)
        self._refused[topic] = f"the broker refuses it: {refusal}"
        self._held.add(_group(topic))
        self._again_at = time.monotonic() + REFUSED_S

    def _give_up(self, topic: str, payload: bytes) -> None:
        """For an hour: a broker that ends the connection of who sends it must not hear it at once."""
        self._given_up[topic, payload] = time.monotonic() + GIVEN_UP_S
        self._said.pop(topic, None)

    def _note(self, topics: Collection[str]) -> None:
        """Without a disk, messages go out all the same, and are noted when it is there again."""
        if not topics:
            return
        try:
            self._spool.note_retained(topics)
        except sqlite3.Error as exc:
            if not self._note_fails:
                log.warning("mqtt.spool: retained topics cannot be noted: %s", exc)
            self._note_fails = True
            return
        self._note_fails = False
        self._noted.update(topics)


def _group(topic: str) -> Group:
    return topic.partition("/")[0], topic.rpartition("/")[2]
