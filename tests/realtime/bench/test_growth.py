import mmap

import pytest

from realtime.bench.growth import BLOCKS, OBJECTS, PAGES_MB, Census, census, level

BEFORE, SETTLED = Census(0.0, 0, 100.0, 1000, 5000), Census(0.1, 10, 150.0, 9000, 90000)


@pytest.mark.parametrize(
    ("resident_mb", "objects", "blocks", "expected"),
    [
        (0.0, 0, 0, True),
        (PAGES_MB, OBJECTS, BLOCKS, True),
        (-50.0, -1, -1, True),
        (PAGES_MB + 0.1, 0, 0, False),
        (0.0, OBJECTS + 1, 0, False),
        (0.0, 0, BLOCKS + 1, False),
    ],
)
def test_what_is_level(resident_mb: float, objects: int, blocks: int, expected: bool) -> None:
    """What came before the first tenth was over does not matter, nor what was between."""
    last = Census(1.0, 100, 150.0 + resident_mb, 9000 + objects, 90000 + blocks)
    between = Census(0.5, 50, 999.0, 99999, 999999)
    assert level([BEFORE, SETTLED, between, last]) is expected


class Ring:
    """Only the garbage collector can tell that nobody has it any more."""

    def __init__(self) -> None:
        self.itself = self


def test_what_is_kept_is_counted_and_what_is_not_is_not() -> None:
    gone = [Ring() for _ in range(100)]
    before = census(0.0, 0)
    gone.clear()
    after = census(0.0, 0)
    assert 90 <= before.objects - after.objects <= 250  # a census is one, too, and attributes may be
    kept = [bytes(100 + index) for index in range(100)]
    assert 90 <= census(0.0, 0).blocks - after.blocks <= 150, "of what the collector does not watch"
    with mmap.mmap(-1, 64_000_000) as block:  # which is never memory that was there before
        block.write(b"\1" * len(block))
        del kept
        assert census(0.0, 0).resident_mb - after.resident_mb > 40
