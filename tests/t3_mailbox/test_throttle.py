"""Wrong passwords: how long the next try waits, and what is forgotten."""

from aerogramme.mailbox.throttle import FORGET, FREE, LONGEST, MAX_TRACKED, Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_few_mistakes_cost_nothing_then_each_doubles() -> None:
    throttle = Throttle(Clock())
    waits = [throttle.begin(["a"]) for _ in range(FREE + 12)]
    assert waits[:FREE] == [0.0] * FREE
    assert waits[FREE : FREE + 4] == [0.25, 0.5, 1.0, 2.0]
    assert waits[-1] == LONGEST
    assert throttle.begin(["b"]) == 0.0, "others do not wait"


def test_the_worst_of_address_and_account_counts() -> None:
    throttle = Throttle(Clock())
    for n in range(FREE + 3):
        throttle.begin([f"address {n}", "account"])
    assert throttle.begin(["address new", "account"]) == 2.0


def test_right_passwords_never_count() -> None:
    throttle = Throttle(Clock())
    for _ in range(100):
        assert throttle.begin(["a"]) == 0.0
        throttle.right(["a"])


def test_a_right_password_does_not_excuse_the_wrong_ones_of_others() -> None:
    throttle = Throttle(Clock())
    for _ in range(FREE + 2):
        throttle.begin(["account"])
    throttle.begin(["account"])
    throttle.right(["account"])
    assert throttle.begin(["account"]) == 1.0


def test_time_heals() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for _ in range(20):
        throttle.begin(["a"])
    clock.now += FORGET + 1
    assert throttle.begin(["a"]) == 0.0


def test_what_is_remembered_is_bounded() -> None:
    throttle = Throttle(Clock())
    for n in range(MAX_TRACKED + 10):
        throttle.begin([str(n)])
    throttle.begin(["x" * 100_000])
    assert len(throttle._tries) == MAX_TRACKED
    assert max(map(len, throttle._tries)) <= 100


def test_a_long_name_is_taken_back_too() -> None:
    throttle = Throttle(Clock())
    for _ in range(FREE + 2):
        throttle.begin(["x" * 1000])
        throttle.right(["x" * 1000])
    assert throttle.begin(["x" * 1000]) == 0.0
