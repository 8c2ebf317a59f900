"""What is tried again and for how long, and what each answer of a store means."""

from random import Random

import pytest
import trio
from trio.testing import MockClock

from aerogramme.errors import NotStored, Unavailable
from aerogramme.store.retry import (
    AWAY_SECONDS,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    SKEW_SECONDS,
    Passing,
    Reach,
    check_clock,
    judge,
    persist,
)


class Longest(Random):
    """Every pause is as long as it may be."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Work:
    """Fails as told, then gives 7. `times`: when it was called."""

    def __init__(self, *faults: Exception) -> None:
        self.faults, self.times = list(faults), list[float]()

    async def __call__(self) -> int:
        await trio.lowlevel.checkpoint()
        self.times.append(trio.current_time())
        if self.faults:
            raise self.faults.pop(0)
        return 7


async def test_what_passes_is_tried_again_after_pauses_that_grow(autojump_clock: MockClock) -> None:
    work = Work(*[Passing("503")] * 9)
    assert await persist(work, 60, Longest()) == 7
    pauses = [later - earlier for earlier, later in zip(work.times, work.times[1:], strict=False)]
    expected = [min(FIRST_PAUSE * 2**n, LONGEST_PAUSE) for n in range(9)]
    assert pauses == pytest.approx(expected)
    assert LONGEST_PAUSE in expected


async def test_each_pause_is_a_random_part_of_what_it_may_be(autojump_clock: MockClock) -> None:
    begun = []
    for seed in range(20):
        work = Work(Passing("503"))
        await persist(work, 60, Random(seed))
        begun.append(work.times[1] - work.times[0])
    assert 0 <= min(begun) < FIRST_PAUSE / 4
    assert FIRST_PAUSE * 3 / 4 < max(begun) <= FIRST_PAUSE


async def test_it_ends_at_the_deadline_and_says_what_was_wrong(autojump_clock: MockClock) -> None:
    work = Work(*[Passing("the store answers 503")] * 1000)
    with pytest.raises(Unavailable) as given_up:
        await persist(work, 10, Longest())
    assert 10 - LONGEST_PAUSE <= trio.current_time() - work.times[0] <= 10
    assert "503" in given_up.value.hint


async def test_a_try_that_has_begun_in_time_is_the_last_but_not_cut_off(autojump_clock: MockClock) -> None:
    async def long() -> str:
        await trio.sleep(100)
        return "a large object"

    assert await persist(long, 10) == "a large object"

    async def too_long() -> None:
        await trio.sleep(11)
        raise Passing("nothing moves")

    begun = trio.current_time()
    with pytest.raises(Unavailable):
        await persist(too_long, 10)
    assert trio.current_time() - begun == pytest.approx(11)


@pytest.mark.parametrize("error", [NotStored(), Unavailable(), ValueError("a fault of ours")])
async def test_what_does_not_pass_is_raised_at_once(error: Exception) -> None:
    work = Work(error)
    with pytest.raises(type(error)) as raised:
        await persist(work, 10)
    assert raised.value is error
    assert len(work.times) == 1


async def test_who_is_cancelled_while_waiting_is_cancelled(autojump_clock: MockClock) -> None:
    with trio.move_on_after(1) as scope:
        await persist(Work(*[Passing("503")] * 1000), 10, Longest())
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("status", "code", "expected", "said"),
    [
        (500, "", Passing, "500"),
        (500, "InternalError", Passing, "InternalError"),
        (502, "", Passing, "502"),
        (503, "SlowDown", Passing, "503 SlowDown"),
        (429, "", Passing, "429"),
        (408, "", Passing, "408"),
        (409, "OperationAborted", Passing, "409"),
        (400, "RequestTimeout", Passing, "RequestTimeout"),
        (404, "", NotStored, ""),
        (404, "NoSuchKey", NotStored, ""),
        (404, "NoSuchBucket", Unavailable, "address"),
        (404, "NoSuchUpload", Unavailable, "NoSuchUpload"),
        (403, "", Unavailable, "credentials"),
        (401, "", Unavailable, "credentials"),
        (403, "SignatureDoesNotMatch", Unavailable, "credentials"),
        (400, "ExpiredToken", Unavailable, "credentials"),
        (403, "RequestTimeTooSkewed", Unavailable, "clock"),
        (400, "AuthorizationHeaderMalformed", Unavailable, "region"),
        (301, "PermanentRedirect", Unavailable, "region"),
        (400, "InvalidRequest", Unavailable, "400 InvalidRequest"),
        (501, "NotImplemented", Unavailable, "501"),
    ],
)
def test_what_an_answer_means(status: int, code: str, expected: type[Exception], said: str) -> None:
    error = judge(status, code)
    assert type(error) is expected
    assert said in (error.hint if isinstance(error, Unavailable) else str(error))


def test_clocks_that_are_too_far_apart_are_refused() -> None:
    date, now = "Wed, 25 Nov 2026 16:00:00 GMT", 1795622400.0
    for off in (0, -SKEW_SECONDS, SKEW_SECONDS):
        check_clock(date, now + off)
    for off in (-SKEW_SECONDS - 1, SKEW_SECONDS + 1):
        with pytest.raises(Unavailable) as refused:
            check_clock(date, now + off)
        assert "301 seconds" in refused.value.hint


@pytest.mark.parametrize("date", ["", "soon", "Wed, 99 Nov 2026 99:00:00 GMT"])
def test_what_is_no_date_says_nothing_of_clocks(date: str) -> None:
    check_clock(date, 0.0)


async def test_what_is_known_to_be_away_is_asked_once_until_it_answers(autojump_clock: MockClock) -> None:
    ask = Work(*[Passing("503")] * 3)
    reach = Reach(ask)
    with pytest.raises(Unavailable):
        await persist(Work(*[Passing("503")] * 99), 10, reach=reach)
    assert reach.away
    for n in range(3):
        work, began = Work(), trio.current_time()
        with pytest.raises(Unavailable):
            await persist(work, 10, reach=reach)
        assert (len(work.times), len(ask.times), trio.current_time()) == (0, n + 1, began)
    assert await persist(Work(*[Passing("503")] * 3), 10, reach=reach) == 7  # as patient as before
    assert not reach.away
    assert await persist(Work(), 10, reach=reach) == 7
    assert len(ask.times) == 4


@pytest.mark.parametrize("answer", [NotStored(), Unavailable(hint="403 AccessDenied")])
async def test_an_answer_that_refuses_is_an_answer(answer: Exception) -> None:
    reach = Reach(Work(answer))
    reach.away = True
    assert await persist(Work(), 10, reach=reach) == 7
    assert not reach.away


async def test_what_is_known_to_be_away_and_says_nothing(autojump_clock: MockClock) -> None:
    reach, began = Reach(trio.sleep_forever), trio.current_time()
    reach.away = True
    with pytest.raises(Unavailable):
        await persist(Work(), 10, reach=reach)
    assert trio.current_time() == began + AWAY_SECONDS
    assert reach.away
    with trio.move_on_after(1) as scope:  # and whoever gives up meanwhile, does so
        await persist(Work(), 10, reach=reach)
    assert scope.cancelled_caught


async def test_what_takes_long_is_done_as_soon_as_the_server_is_there_again(
    autojump_clock: MockClock,
) -> None:
    """A large object on a slow line: no other request need come before it."""
    reach = Reach(Work())
    reach.away = True

    async def upload() -> int:
        await trio.sleep(10 * AWAY_SECONDS)
        return 8

    assert await persist(upload, 10, reach=reach) == 8
