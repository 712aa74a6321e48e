"""What is left of several jobs, against times worked by hand."""

from __future__ import annotations

import pytest

from fsseg_bench.progress import Job, Remaining, about

STEPS = {"train": 10, "evaluate": 100}


class Clock:
    """A clock that moves when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def work(remaining: Remaining, clock: Clock, number: int, title: str, steps: int, seconds: float) -> None:
    """``steps`` steps of a meter of a job, each of ``seconds``."""
    with remaining.metered(number, title, steps, 0) as told:
        for _ in range(steps):
            clock.now += seconds
            told(1)


def test_what_is_measured_of_a_kind_holds_for_its_other_jobs() -> None:
    clock = Clock()
    remaining = Remaining([Job("a 1", "a", STEPS), Job("a 2", "a", STEPS), Job("b 1", "b", {"train": 5})], clock=clock)
    remaining.begin(0)
    assert remaining.seconds() is None
    work(remaining, clock, 0, "train", 10, 2.0)
    assert remaining.seconds() is None  # nothing is known of evaluation
    clock.now += 3  # outside the meters
    with remaining.metered(0, "evaluate", 100, 20) as told:  # 20 were done earlier
        clock.now += 4
        told(40)
        # 40 + 100 evaluations of 0.1 s; 10 + 5 steps of 2 s, of the other kind as of this one
        assert remaining.seconds() == pytest.approx(14 + 30)
        clock.now += 4
        told(40)
    remaining.end(0)
    assert remaining.seconds() == pytest.approx(10 + 30 + 2 * 3)  # 3 s around each job
    remaining.begin(1)
    work(remaining, clock, 1, "train", 10, 4.0)
    # a: 20 steps in 60 s; b as the mean of the known kinds
    assert remaining.seconds() == pytest.approx(10 + 5 * 3 + 3)
    remaining.end(1)
    remaining.begin(2)
    work(remaining, clock, 2, "train", 5, 1.0)
    remaining.end(2)
    assert remaining.seconds() == 0


def test_an_estimate_holds_until_two_seconds_were_measured() -> None:
    clock = Clock()
    remaining = Remaining([Job("a", "a", {"train": 10}, {"train": 0.5}), Job("done", "a", {})], clock=clock)
    assert remaining.seconds() == 5
    remaining.begin(0)
    with remaining.metered(0, "train", 10, 0) as told:
        clock.now += 1.5  # the first step is slow
        told(1)
        assert remaining.seconds() == pytest.approx(9 * 0.5)
        clock.now += 0.7
        told(1)
        assert remaining.seconds() == pytest.approx(8 * 1.1)


def test_an_estimate_of_another_kind_is_better_than_none() -> None:
    jobs = [
        Job("a", "a", {"evaluate": 10}),
        *(Job(n, n, {"evaluate": 4}, {"evaluate": s}) for n, s in (("b", 1), ("c", 3))),
    ]
    assert Remaining(jobs, clock=Clock()).seconds() == 10 * 2 + 4 * 1 + 4 * 3


def test_estimates_are_corrected_by_how_far_others_were_off() -> None:
    clock, speeds = Clock(), {"train": 3.0, "evaluate": 0.3}
    steps = {"train": 10, "evaluate": 10}
    remaining = Remaining(
        [Job("a", "a", steps, speeds), Job("b", "b", steps, {"train": 6.0, "evaluate": 0.6})], clock=clock
    )
    assert remaining.seconds() == pytest.approx(33 + 66)
    remaining.begin(0)
    work(remaining, clock, 0, "train", 10, 1.0)  # three times as fast as estimated: so all the rest is taken to be
    assert remaining.seconds() == pytest.approx(1 + 20 + 2)
    work(remaining, clock, 0, "evaluate", 10, 0.6)  # twice as slow: so are other evaluations
    remaining.end(0)
    assert remaining.seconds() == pytest.approx(20 + 12)


def test_jobs_side_by_side_are_as_long_as_the_fullest_lane() -> None:
    """Speeds 1 s a step: [4, 3, 5, 2, 2] in two lanes are 5 + 2 + 2 and 4 + 3, the longest first."""
    clock = Clock()
    jobs = [Job(f"{n}", "a", {"train": steps}, {"train": 1.0}) for n, steps in enumerate((4, 3, 5, 2, 2))]
    remaining = Remaining(jobs, 2, clock)
    assert remaining.seconds() == 9
    assert Remaining(jobs).seconds() == 16
    assert Remaining(jobs, 9).seconds() == 5
    for number in (0, 1):
        remaining.begin(number)
    with remaining.metered(0, "train", 4, 0) as first, remaining.metered(1, "train", 3, 0) as second:
        for _ in range(3):
            clock.now += 1
            first(1)
            second(1)
        # 1 left of the first, nothing of the second: 1 + 2 + 2 and 5
        assert remaining.seconds() == 5
    clock.now += 0.5  # around each job
    remaining.end(1)
    remaining.begin(2)
    remaining.end(0, failed=True)  # what failed is not waited for, and says nothing of the time around jobs
    remaining.begin(3)
    assert remaining.seconds() == pytest.approx(5)  # 5, and 2 + 2 + 0.5
    remaining.end(2, failed=True)
    assert remaining.seconds() == pytest.approx(2.5)  # 2, and 2 + 0.5
    remaining.end(3, failed=True)
    remaining.begin(4)
    remaining.end(4)
    assert remaining.seconds() == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    {
        0.1: "about 5 s",
        38: "about 40 s",
        54.9: "about 55 s",
        55: "about 1 min",
        230: "about 4 min",
        57 * 60: "about 57 min",
        58 * 60: "about 1 h",
        7700: "about 2 h 10 min",
        86_399: "about 24 h",
        200_000: "about 2 days 8 h",
        86_400: "about 1 day",
        26.4 * 86_400: "about 26 days",
        256.8 * 86_400: "about 260 days",
    }.items(),
)
def test_a_time_in_words(seconds: float, words: str) -> None:
    assert about(seconds) == words
