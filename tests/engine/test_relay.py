"""What is told in one process is told again in another, with fewer words where steps are quick."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fsseg_bench.engine import relay
from fsseg_bench.engine.relay import Advanced, Closed, Event, Opened, Replay, Sender
from fsseg_bench.progress import Meter, Progress, Unit
from tests.support.tiny_run import Watched


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, events, heard = Clock(), list[Event](), Watched()
    monkeypatch.setattr(relay, "time", clock)
    replay = Replay(heard)

    def tell(event: Event) -> None:
        events.append(event)
        replay.take(pickle.loads(pickle.dumps(event)))

    sender = Sender(tell)
    sender.say("first")
    with sender.meter("train", 100, 10) as outer:
        for step in range(30):  # ten a second's tenth
            clock.now += 0.01
            outer.advance(1, f"loss {step}")
        with sender.meter("reading", 4, unit="files") as inner:
            inner.advance(3, "a")
            inner.advance(-1, "b")
    sender.say("last")
    assert heard.said == ["first", "last"]
    of_train = [event for event in events if isinstance(event, Advanced) and event.meter == 0]
    assert sum(event.steps for event in of_train) == 30
    assert len(of_train) == 4  # the first at once, then one each tenth of a second, and the rest at the end
    assert heard.notes["train"][-1] == "loss 29"
    assert heard.notes["reading"] == ["a", "b"]
    replay.close()


class Ending(Progress):
    """Remembers when meters end."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    @contextmanager
    def meter(self, title: str, total: int, done: int = 0, unit: Unit = "steps") -> Iterator[Meter]:
        yield Meter()
        self.ended.append(title)


def test_the_meters_of_a_process_that_died_are_ended() -> None:
    heard = Ending()
    replay = Replay(heard)
    for number, title in enumerate(("evaluate", "reading", "drawing")):
        replay.take(Opened(number, title, 10, 0, "steps"))
    replay.take(Closed(2))
    assert heard.ended == ["drawing"]
    for _ in range(2):
        replay.close()
        assert heard.ended == ["drawing", "reading", "evaluate"]
