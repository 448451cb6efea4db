"""What the page on Ray states."""

from statistics import median

from tests.numbers.results import RAY, assert_stated, each, result, rounded


def ray(*ways):
    rows = [result("epyc2-ray_scaling")["speed"]["ways"][way] for way in ways]
    return [rounded(median(turn["faces_per_s"] for turn in turns)) for turns in rows]


def ray_ratios(*names):
    return [rounded(result("epyc2-ray_scaling")["speed"][name], 2) for name in names]


def ray_memory():
    small, large = result("epyc2-ray_scaling")["memory"]
    assert (small["faces"], large["faces"]) == (10_000, 200_000)
    return [rounded(small["driver_mb"]), rounded(large["driver_mb"])]


CLAIMS = [
    (RAY, "score", "`score`, one engine; two | #; # faces/s",
     lambda: ray("score, 1 engine", "score, 2 engines")),
    (RAY, "workers", "on Ray, one worker; two | #; # faces/s",
     lambda: ray("ray, 1 worker", "ray, 2 workers")),
    (RAY, "cost", "divided by those of `score`, one and two | #; #",
     lambda: ray_ratios("ray_over_score_1", "ray_over_score_2")),
    (RAY, "second worker", "two engines of `score` divided by one | #; #",
     lambda: ray_ratios("ray_2_over_ray_1", "score_2_over_score_1")),
    (RAY, "memory", "over 10,000 pictures; over 200,000 | # MB; # MB", ray_memory),
]  # fmt: skip


@each(CLAIMS)
def test_a_number_is_that_of_its_file(page, claim, numbers):
    assert_stated(page, claim, numbers)
