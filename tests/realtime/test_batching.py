"""Which frames are drawn together, and when: by a clock that the tests move."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.batching import ACTIVE_S, Batcher

PATIENCE_S, DEADLINE_S = 0.004, 0.25


def batcher(most: int = 4) -> Batcher[str]:
    return Batcher(most, PATIENCE_S, DEADLINE_S)


def test_somebody_alone_does_not_wait() -> None:
    alone = batcher()
    assert alone.wait_s(0.0) is None
    assert alone.put("a", "a0", 0.0) is None
    assert alone.wait_s(0.0) == 0
    assert alone.take(0.0) == (["a0"], [])
    assert alone.wait_s(0.0) is None
    assert alone.take(0.0) == ([], [])


def test_a_frame_waits_for_those_who_are_there_but_not_for_long() -> None:
    two = batcher()
    two.put("a", "a0", 0.0)
    two.put("b", "b0", 0.001)
    assert two.take(0.001) == (["a0", "b0"], [])
    two.put("a", "a1", 0.033)
    assert two.wait_s(0.034) == pytest.approx(PATIENCE_S - 0.001)
    assert two.take(0.034) == ([], [])
    assert two.take(0.033 + PATIENCE_S) == (["a1"], [])


def test_who_has_not_been_heard_of_is_not_waited_for() -> None:
    two = batcher()
    two.put("a", "a0", 0.0)
    two.put("b", "b0", 0.0)
    two.take(0.0)
    now_s = ACTIVE_S + 0.01
    two.put("a", "a1", now_s)
    assert two.wait_s(now_s) == 0


def test_who_is_forgotten_is_not_waited_for_and_his_frame_is_given_back() -> None:
    two = batcher()
    two.put("a", "a0", 0.0)
    two.put("b", "b0", 0.0)
    assert two.forget("b") == "b0"
    assert two.forget("b") is None
    assert two.take(0.0) == (["a0"], [])


def test_a_newer_frame_replaces_the_one_that_waits() -> None:
    two = batcher()
    two.put("b", "b0", 0.0)
    two.take(0.0)
    assert two.put("a", "a0", 0.0) is None
    assert two.put("a", "a1", 0.001) == "a0"
    assert len(two) == 1
    assert two.take(0.001 + PATIENCE_S) == (["a1"], [])


def test_a_full_batch_waits_for_nobody() -> None:
    many = batcher(most=2)
    for name in "abc":
        many.put(name, name, 0.0)
    many.take(0.0)
    many.take(PATIENCE_S)
    many.put("a", "a1", 0.05)
    many.put("b", "b1", 0.05)
    assert many.wait_s(0.05) == 0


def test_a_frame_past_its_deadline_is_dropped() -> None:
    one = batcher()
    one.put("a", "a0", 0.0)
    one.put("b", "b0", 0.2)
    assert one.take(DEADLINE_S + 0.01) == (["b0"], ["a0"])


def test_what_is_left_in_the_end_is_given_back() -> None:
    two = batcher()
    two.put("a", "a0", 0.0)
    two.put("b", "b0", 0.0)
    assert two.clear() == ["a0", "b0"]
    assert len(two) == 0
    assert two.wait_s(1.0) is None


@pytest.mark.parametrize("wrong", [(0, 0.0, 0.0), (1, -1.0, 0.0), (1, 0.0, -1.0)])
def test_what_cannot_be_is_refused(wrong: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        Batcher(*wrong)


steps = st.lists(st.tuples(st.integers(0, 9), st.floats(0, 0.02)), min_size=1, max_size=200)


@given(steps, st.integers(1, 5))
def test_every_frame_is_drawn_or_replaced_or_late_and_waits_no_longer_than_it_should(
    script: list[tuple[int, float]], most: int
) -> None:
    """An engine that takes no time: nobody waits beyond the patience, and nothing is ever late."""
    queue: Batcher[tuple[int, int, float]] = Batcher(most, PATIENCE_S, DEADLINE_S)
    now_s, put, out = 0.0, 0, 0
    drawn: dict[int, int] = {}
    for number, (session, pause_s) in enumerate(script):
        while (wait_s := queue.wait_s(now_s)) is not None and wait_s <= pause_s:
            now_s, pause_s = now_s + wait_s, pause_s - wait_s
            frames, late = queue.take(now_s)
            assert not late
            assert 0 < len(frames) <= most
            assert len({who for who, _, _ in frames}) == len(frames), "two frames of one session"
            for who, which, since_s in frames:
                assert now_s - since_s <= PATIENCE_S + 1e-9
                assert which > drawn.get(who, -1), "an older frame after a newer one"
                drawn[who] = which
            out += len(frames)
        now_s += pause_s
        put += 1
        out += queue.put(session, (session, number, now_s), now_s) is not None
    assert out + len(queue) == put


@given(st.integers(2, 40), st.integers(1, 16), st.floats(0.001, 0.2), st.randoms(use_true_random=False))
def test_nobody_starves_where_more_come_than_can_be_drawn(
    sessions: int, most: int, takes_s: float, random: object
) -> None:
    """Thirty frames a second each, an engine that takes so long for a batch: under the same load everybody
    gets the same."""
    queue: Batcher[int] = Batcher(most, PATIENCE_S, deadline_s=60.0)
    phases = [random.random() / 30 for _ in range(sessions)]  # type: ignore[attr-defined]
    given_out = [0] * sessions
    brought = [0] * sessions
    now_s = 0.0
    for _ in range(60 * sessions):
        for session, phase_s in enumerate(phases):
            due = int((now_s - phase_s) * 30) + 1
            if due > brought[session]:
                brought[session] = due
                queue.put(session, session, now_s)
        wait_s = queue.wait_s(now_s)
        if wait_s == 0:
            for session in queue.take(now_s).frames:
                given_out[session] += 1
            now_s += takes_s
        else:
            coming = min((done + phase * 30) / 30 for done, phase in zip(brought, phases, strict=True))
            now_s = min(coming + 1e-9, now_s + (wait_s if wait_s is not None else 1.0))
    assert max(given_out) - min(given_out) <= max(2, 0.2 * min(given_out))
