"""Every fault that `store check` knows, made for real: it has words and an exit code, and leaves nothing."""

import os
import socket
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from aerogramme.store import check_folder, check_http
from aerogramme.store.check import check_store
from aerogramme.store.check_folder import file_system
from aerogramme.store.check_steps import CheckFailed, Outcome, Step
from tests.helpers.fake_s3 import FakeS3, certificate, error, fake_s3

SECRET = "a-secret-that-nobody-may-see"
DONE, WARNING, FAILED, NOT_TRIED = Outcome


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of this machine's own credentials; those of a test in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-a-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return tmp_path


@pytest.fixture
def s3() -> Iterator[FakeS3]:
    with fake_s3() as server:
        yield server


def checked(where: str, *, create: bool = False) -> list[Step]:
    with closing(check_store(where, create=create)) as found:
        steps = list(found)
    assert SECRET not in repr(steps)
    outcomes = [step.outcome for step in steps]
    if FAILED in outcomes:
        first = outcomes.index(FAILED)
        assert NOT_TRIED not in outcomes[:first] and {*outcomes[first + 1 :]} <= {NOT_TRIED}
        assert steps[first].exit_code and steps[first].text
    assert all(step.exit_code == 0 for step in steps if step.outcome is not FAILED)
    assert all(step.hint for step in steps if step.outcome is WARNING)
    return steps


def failure(where: str, *, create: bool = False) -> Step:
    """The step that failed; there must be one."""
    (step,) = [step for step in checked(where, create=create) if step.outcome is FAILED]
    return step


def step_of(where: str, title: str) -> Step:
    """A step that is reached, whatever comes after it. None of those before has failed."""
    with closing(check_store(where)) as steps:
        for step in steps:
            if step.title == title:
                return step
            assert step.outcome is not FAILED, step
    raise AssertionError(f"no such step: {title}")


@pytest.mark.parametrize(
    ("where", "said"),
    [("ftp:x", "ftp"), ("s3:http://user:pw@host/mail", "credentials"), ("garage:http://h/mail", "K2V")],
)
def test_an_address_that_makes_no_sense(where: str, said: str) -> None:
    step = failure(where)
    assert (step.title, step.exit_code) == ("the address makes sense", 78)
    assert said in step.text and step.hint


def test_memory_is_always_fit() -> None:
    assert [step.outcome for step in checked("memory:")] == [DONE, DONE]


# --- folders


def private(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


def test_a_folder_that_is_fit(tmp_path: Path) -> None:
    folder = private(tmp_path / "accounts")
    assert [step.outcome for step in checked(f"sqlite:{folder}")] == [DONE] * 7
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    missing = failure(str(tmp_path / "a" / "b"))
    assert (missing.title, missing.exit_code) == ("the folder is there", 78)
    assert "missing" in missing.text and "--create" in missing.hint
    assert FAILED not in [step.outcome for step in checked(str(tmp_path / "a" / "b"), create=True)]
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    (tmp_path / "file").touch()
    for create in (False, True):
        assert "is not a folder" in failure(str(tmp_path / "file"), create=create).text
    assert failure(str(tmp_path / "file" / "in"), create=True).exit_code == 75


def test_a_folder_that_is_not_ours_alone(tmp_path: Path) -> None:
    folder = private(tmp_path / "accounts")
    folder.chmod(0o750)
    step = step_of(str(folder), "it is its owner's only")
    assert step.outcome is WARNING and "chmod 700" in step.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="to be somebody else one must be root")
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    folder = private(tmp_path / "accounts")
    closed = [parent for parent in (tmp_path, *tmp_path.parents) if not parent.stat().st_mode & 0o001]
    for parent in closed:
        parent.chmod(0o711)
    folder.chmod(0o755)
    os.seteuid(65534)
    try:
        steps = checked(str(folder))
    finally:
        os.seteuid(0)
        for parent in closed:
            parent.chmod(0o700)
    by_title = {step.title: step for step in steps}
    assert by_title["it is its owner's only"].outcome is WARNING
    refused = by_title["it can be written to"]
    assert (refused.outcome, refused.exit_code) == (FAILED, 77) and "belong" in refused.hint


def test_a_folder_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = private(tmp_path / "accounts")
    monkeypatch.setattr(check_folder, "ROOM_GOOD", 1 << 62)
    assert step_of(str(folder), "there is room").outcome is WARNING
    monkeypatch.setattr(check_folder, "ROOM_MIN", 1 << 62)
    step = failure(str(folder))
    assert (step.title, step.exit_code) == ("there is room", 75)
    assert list(folder.iterdir()) == []


def test_a_folder_on_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = private(tmp_path / "accounts")
    monkeypatch.setattr(check_folder, "NETWORK", {file_system(tmp_path)})
    step = step_of(str(folder), "its file system keeps locks")
    assert step.outcome is WARNING and "one machine" in step.hint


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = private(tmp_path / "accounts")
    connect = sqlite3.connect

    def without_locks(path: Path, **options: object) -> sqlite3.Connection:
        # What SQLite is on a file system that takes every lock: its VFS for such does not lock at all.
        return connect(f"file:{path}?vfs=unix-none", uri=True, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(sqlite3, "connect", without_locks)
    step = failure(str(folder))
    assert (step.title, step.exit_code) == ("its file system keeps locks", 78)
    assert list(folder.iterdir()) == []


def test_where_a_path_is_mounted(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/a / ext4 rw 0 0\nnas:/x /srv/the\\040mail nfs4 rw 0 0\nt /srv tmpfs rw 0 0\n")
    assert file_system(Path("/srv/the mail/accounts"), mounts) == "nfs4"
    assert file_system(Path("/srv/the mails"), mounts) == "tmpfs"
    assert file_system(Path("/home"), mounts) == "ext4"
    assert file_system(Path("/home"), tmp_path / "none") == ""


def test_nothing_stays_in_a_folder_however_the_check_ends(tmp_path: Path) -> None:
    folder = private(tmp_path / "accounts")
    for n in range(1, 8):
        steps = check_store(str(folder))
        for _ in range(n):
            next(steps)
        steps.close()
        assert list(folder.iterdir()) == [], n
    old, fresh = private(folder / ".probe-old"), private(folder / ".probe-fresh")
    (old / "file").touch()
    os.utime(old, (time.time() - 100_000,) * 2)
    checked(str(folder))
    assert list(folder.iterdir()) == [fresh]


# --- the way to a bucket


def test_a_name_without_an_address() -> None:
    step = failure(f"s3:http://{'a' * 64}.example/mail")  # no resolver is asked for a label of 64
    assert (step.title, step.exit_code) == ("the endpoint answers", 75)
    assert "has no address" in step.text


def test_a_port_that_is_closed() -> None:
    with closing(socket.socket()) as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        port = closed.getsockname()[1]
        step = failure(f"s3:http://127.0.0.1:{port}/mail")
        assert step.text == f"nobody listens on 127.0.0.1:{port}" and step.exit_code == 75
        garage = failure(f"garage:https://127.0.0.1:{port}/mail?k2v=http://127.0.0.1:{port}")
        assert garage.text == step.text


def answering(said: bytes) -> Callable[[socket.socket], None]:
    def answer(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            connection.sendall(said)
            connection.recv(10_000)

    return answer


@pytest.fixture
def port_of() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """A port on which one connection is served so."""
    threads: list[threading.Thread] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve(how: Callable[[socket.socket], None]) -> int:
            threads.append(threading.Thread(target=how, args=(listener,)))
            threads[-1].start()
            return int(listener.getsockname()[1])

        yield serve
        for thread in threads:
            thread.join()


def test_something_that_is_not_http(port_of: Callable[[Callable[[socket.socket], None]], int]) -> None:
    step = failure(f"s3:http://127.0.0.1:{port_of(answering(b'220 mail ESMTP' + bytes([13, 10])))}/mail")
    assert "does not answer as HTTP does" in step.text and "https://" in step.hint


def test_something_that_never_answers(
    port_of: Callable[[Callable[[socket.socket], None]], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_http, "ANSWER_SECONDS", 0.1)

    def silent(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            while connection.recv(10_000):
                pass

    step = failure(f"s3:http://127.0.0.1:{port_of(silent)}/mail")
    assert "does not answer" in step.text and step.exit_code == 75


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ((200, "text/html; charset=utf-8", b"<html>Welcome"), 78, "is not S3: 200, text/html"),
        ((404, "application/xml", b"<oops/>"), 78, "is not S3"),
        ((403, "application/json", b'{"code": "AccessDenied", "region": "garage"}'), 78, "is K2V, not S3"),
        ((500, "text/plain", b"oh"), 75, "a fault of its own: 500"),
        (error(503, "ServiceUnavailable", "no quorum"), 75, "503: ServiceUnavailable no quorum"),
    ],
)
def test_something_that_is_not_a_healthy_s3(s3: FakeS3, answer: object, code: int, said: str) -> None:
    s3.wrong = lambda *_: answer  # type: ignore[assignment, return-value]
    step = failure(s3.place)
    assert (step.title, step.exit_code) == ("the endpoint answers", code)
    assert said in step.text and step.hint


def test_a_bucket_that_anybody_may_list(s3: FakeS3) -> None:
    s3.wrong = lambda *_: (200, "application/xml", b"<ListBucketResult/>")
    step = step_of(s3.place, "the endpoint answers")
    assert step.outcome is WARNING and "anybody" in step.hint


@pytest.mark.parametrize(
    ("ahead", "outcome", "said"),
    [
        (0, DONE, "differ by"),
        (10, DONE, "10 s ahead"),
        (60, WARNING, "ahead"),
        (-60, WARNING, "behind"),
        (400, FAILED, "ahead"),
        (-400, FAILED, "behind"),
        (None, WARNING, "no date"),
    ],
)
def test_clocks(s3: FakeS3, ahead: float | None, outcome: Outcome, said: str) -> None:
    s3.ahead = ahead
    step = step_of(s3.place, "the clocks agree")
    assert step.outcome is outcome and said in step.text
    assert step.exit_code == (75 if outcome is FAILED else 0)


def test_certificates(tmp_path: Path) -> None:
    title = "the endpoint answers"
    with fake_s3(certificate(tmp_path)) as server:
        step = failure(server.place)
        assert (step.title, step.exit_code) == (title, 78)
        assert "signed by itself" in step.text and "ca=" in step.hint
        trusted = step_of(f"{server.place}?ca={tmp_path}/cert.pem", title)
        assert trusted.outcome is DONE and trusted.text.endswith("certificate from a test")
        assert step_of(f"{server.place}?verify=no", title).outcome is DONE
        assert "cannot be read" in failure(f"{server.place}?ca={tmp_path}/none.pem").text
        assert "cannot be read" in failure(f"{server.place}?ca={tmp_path}/key.pem").text
        plain = failure(server.place.replace("https:", "http:"))
        assert "https://" in plain.hint
    with fake_s3(certificate(tmp_path, "elsewhere.example")) as server:
        step = failure(f"{server.place}?ca={tmp_path}/cert.pem")
        assert "is not for 127.0.0.1" in step.text and step.exit_code == 78
    with fake_s3(certificate(tmp_path, days=(-3, -1))) as server:
        assert "expired" in failure(f"{server.place}?ca={tmp_path}/cert.pem").text
    with fake_s3() as server:
        step = failure(server.place.replace("http:", "https:"))
        assert "does not speak TLS" in step.text and "http://" in step.hint


def test_credentials(s3: FakeS3, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    title = "there are credentials"
    assert "AWS_ACCESS_KEY_ID" in step_of(s3.place, title).text
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert failure(s3.place).exit_code == 78  # half of them
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    step = failure(s3.place)
    assert (step.title, step.exit_code) == (title, 78) and "~/.aws/credentials" in step.hint
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text(
        f"[mail]\naws_access_key_id = k\naws_secret_access_key = {SECRET}\n"
    )
    step = step_of(f"{s3.place}?profile=mail", title)
    assert step.text.startswith("from the shared credentials file") and step.text.endswith("profile mail")
    assert failure(f"{s3.place}?profile=male").exit_code == 78
    assert failure(s3.place).exit_code == 78


# --- what the store says no to


@pytest.mark.parametrize(
    ("answer", "code", "said", "hint"),
    [
        (error(403, "InvalidAccessKeyId"), 77, "does not know this access key", "another store"),
        (error(403, "SignatureDoesNotMatch"), 77, "the secret key is not that", "copy"),
        (error(403, "AccessDenied"), 77, "may not list the bucket", "s3:ListBucket"),
        (error(404, "NoSuchBucket"), 78, "there is no bucket mail", "--create"),
        (error(403, "RequestTimeTooSkewed", "by far"), 75, "by far", "NTP"),
        (
            error(400, "AuthorizationHeaderMalformed", more="<Region>eu-1</Region>"),
            78,
            "the region is not us-east-1",
            "region=eu-1",
        ),
        (error(301, "PermanentRedirect"), 78, "the region", "region="),
        (error(503, "SlowDown"), 75, "503: SlowDown", "log"),
        (error(400, "InvalidRequest", "who knows"), 76, "400 InvalidRequest who knows", "log"),
    ],
)
def test_a_bucket_that_may_not_be_listed(s3: FakeS3, answer: object, code: int, said: str, hint: str) -> None:
    s3.wrong = lambda _method, _name, query: answer if "prefix" in query else None  # type: ignore[assignment, return-value]
    step = failure(s3.place)
    assert (step.title, step.exit_code) == ("the bucket is there", code)
    assert said in step.text and hint in step.hint


@pytest.mark.parametrize(
    ("title", "method", "answer", "code"),
    [
        ("an object is written", "PUT", error(403, "AccessDenied"), 77),
        ("an object is written", "PUT", error(507, "Full"), 75),
        ("and read back", "GET", error(403, "AccessDenied"), 77),
        ("and read back", "GET", (200, "binary/octet-stream", b"something else"), 76),
        ("and deleted", "DELETE", error(405, "MethodNotAllowed"), 76),
    ],
)
def test_an_object_that_cannot_be_worked_with(
    s3: FakeS3, title: str, method: str, answer: object, code: int
) -> None:
    # The n-th call of a kind is refused once: what is left can be removed at the end.
    calls: list[str] = []

    def wrong(called: str, name: str, _query: object) -> object:
        if name and called == method:
            calls.append(name)
            return answer if len(calls) == 1 else None
        return None

    s3.wrong = wrong  # type: ignore[assignment]
    step = failure(s3.place)
    assert (step.title, step.exit_code) == (title, code)
    assert s3.objects == {}


def test_a_part_that_is_the_whole(s3: FakeS3) -> None:
    seen: list[str] = []

    def wrong(method: str, name: str, _query: object) -> object:
        if method == "GET" and name:
            seen.append(name)
            if len(seen) == 2:
                return 200, "binary/octet-stream", s3.objects[name]
        return None

    s3.wrong = wrong  # type: ignore[assignment]
    step = failure(s3.place)
    assert (step.title, step.exit_code) == ("and read in part", 76)
    assert s3.objects == {}


def test_listings_that_come_late(s3: FakeS3) -> None:
    stale = (200, "application/xml", b"<ListBucketResult></ListBucketResult>")
    s3.wrong = lambda _method, _name, query: stale if "-" in query.get("prefix", "") else None
    step = failure(s3.place)
    assert (step.title, step.exit_code) == ("and listed", 76)
    assert "consistent" in step.hint and s3.objects == {}


def test_a_deletion_that_does_nothing(s3: FakeS3) -> None:
    calls: list[str] = []

    def wrong(method: str, name: str, _query: object) -> object:
        if method == "DELETE":
            calls.append(name)
            return (204, "", b"") if len(calls) == 1 else None
        return None

    s3.wrong = wrong  # type: ignore[assignment]
    assert failure(s3.place).title == "and deleted"
    assert s3.objects == {}


# --- nothing stays


@pytest.mark.parametrize("steps", range(1, 11))
def test_nothing_stays_in_a_bucket_however_the_check_ends(s3: FakeS3, steps: int) -> None:
    running = check_store(s3.place)
    for _ in range(steps):
        assert next(running).outcome is DONE
    running.close()
    assert s3.objects == {}


def test_an_interruption_while_a_step_is_on_its_way(s3: FakeS3, monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = check_http.exchange
    calls = 0

    def interrupted(url: str, *args: object, **options: object) -> object:
        nonlocal calls
        answer = exchange(url, *args, **options)  # type: ignore[arg-type]
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr("aerogramme.store.check_requests.exchange", interrupted)
    for at in range(1, 9):
        calls = 0
        with pytest.raises(KeyboardInterrupt), closing(check_store(s3.place)) as steps:
            list(steps)
        assert s3.objects == {}, at


def test_what_was_written_though_the_answer_was_no(s3: FakeS3) -> None:
    def wrong(method: str, name: str, _query: object) -> object:
        if method == "PUT":
            s3.objects[name] = b"it came through"
            return error(500, "InternalError")
        return None

    s3.wrong = wrong  # type: ignore[assignment]
    assert failure(s3.place).title == "an object is written"
    assert s3.objects == {}


def test_what_cannot_be_removed_is_told(s3: FakeS3) -> None:
    s3.wrong = lambda method, *_: error(403, "AccessDenied") if method == "DELETE" else None
    with pytest.raises(CheckFailed, match=r"left behind below probe/.*: this key may not delete") as caught:
        checked(s3.place)
    assert caught.value.exit_code == 77 and "another day" in caught.value.hint


def test_what_a_killed_check_has_left_goes_a_day_later(s3: FakeS3) -> None:
    old = f"probe/{int(time.time()) - 100_000:08x}-0123456789abcdef"
    fresh = f"probe/{int(time.time()) - 1000:08x}-0123456789abcdef/object"
    s3.objects = dict.fromkeys([f"{old}/object", f"{old}/accounts/x", fresh, "probe/mine", "0" * 32], b"x")
    running = check_store(s3.place)
    while next(running).title != "and listed":
        pass
    running.close()
    assert sorted(s3.objects) == ["0" * 32, fresh, "probe/mine"]


# --- K2V, as far as it is not asked of a real Garage


def test_k2v_that_does_not_answer_as_such(s3: FakeS3) -> None:
    title = "K2V answers"
    garage = s3.place.replace("s3:", "garage:")
    wrong_port = failure(f"{garage}?k2v=http://{s3.authority}")
    assert (wrong_port.title, wrong_port.exit_code) == (title, 78)
    assert "is S3, not K2V" in wrong_port.text and "[k2v_api]" in wrong_port.hint
    with closing(socket.socket()) as closed:
        closed.bind(("127.0.0.1", 0))
        off = failure(f"{garage}?k2v=http://127.0.0.1:{closed.getsockname()[1]}")
        assert (off.title, off.exit_code) == (title, 75) and "turns K2V on" in off.hint
    with fake_s3() as other:
        other.wrong = lambda *_: (404, "text/html", b"nothing here")
        assert "is not K2V" in failure(f"{garage}?k2v=http://{other.authority}").text
        other.wrong = lambda *_: (503, "text/html", b"nothing here")
        assert failure(f"{garage}?k2v=http://{other.authority}").exit_code == 75
    assert "43 ms" in step_of(f"{garage}?k2v=http://{s3.authority}", "the endpoint answers").note
    assert s3.objects == {}
