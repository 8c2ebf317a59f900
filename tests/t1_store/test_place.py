"""One line of text says where the accounts are; what is not meant so is refused with a hint."""

import subprocess
import sys
from pathlib import Path

import pytest

from aerogramme.errors import BadConfiguration
from aerogramme.store.place import Place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("mail", Place("sqlite", Path("mail"))),
        ("./odd:name", Place("sqlite", Path("odd:name"))),
        ("/srv/mail", Place("sqlite", Path("/srv/mail"))),
        (Path("garage:x"), Place("sqlite", Path("garage:x"))),
        ("sqlite:/srv/mail", Place("sqlite", Path("/srv/mail"))),
        ("sqlite:a:b", Place("sqlite", Path("a:b"))),
        ("memory:", Place("memory")),
        ("s3:mail", Place("s3", bucket="mail", path_style=False)),
        (
            "s3:mail/a/b/?region=eu-west-3&profile=me",
            Place("s3", bucket="mail", prefix="a/b/", region="eu-west-3", profile="me", path_style=False),
        ),
        ("s3:mail?style=path", Place("s3", bucket="mail", path_style=True)),
        ("s3:http://127.0.0.1:8333/mail", Place("s3", endpoint="http://127.0.0.1:8333", bucket="mail")),
        (
            "s3:https://S3.Example.org/mail?style=virtual&verify=no&ca=/etc/my ca.pem",
            Place(
                "s3",
                endpoint="https://s3.example.org",
                bucket="mail",
                path_style=False,
                ca=Path("/etc/my ca.pem"),
                verify=False,
            ),
        ),
        (
            "garage:http://[::1]:3900/mail/eu?k2v=http://[::1]:3904/",
            Place(
                "garage",
                endpoint="http://[::1]:3900",
                k2v="http://[::1]:3904",
                bucket="mail",
                prefix="eu/",
                region="garage",
            ),
        ),
        (
            "garage:https://s3.example.org/mail?k2v=https%3A%2F%2Fk2v.example.org&region=fr&verify=yes",
            Place(
                "garage",
                endpoint="https://s3.example.org",
                k2v="https://k2v.example.org",
                bucket="mail",
                region="fr",
            ),
        ),
    ],
)
def test_a_place_in_one_line(text: str | Path, place: Place) -> None:
    assert Place.parse(text) == place


K2V = "k2v=http://h:1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sqlite:", "no folder"),
        ("memory:x", "no name"),
        ("maildir:x", "'maildir'"),
        ("http://h/mail", "'http'"),
        ("s3:", "no bucket"),
        ("s3:http://h", "no bucket"),
        ("s3:http://h/", "no bucket"),
        ("s3:m", "'m'"),
        ("s3://mail/x", "begins with http"),
        ("s3:ftp://h/mail", "ftp://h"),
        ("s3:http:///mail", "http://"),
        ("s3:http://h:port/mail", "h:port"),
        ("s3:http://h:99999/mail", "h:99999"),
        ("s3:http://[h/mail", "not followed by an address"),
        ("s3:http://h/mail/../x", "'../x'"),
        ("s3:http://h/mail//x", "'/x'"),
        ("s3:http://h/mail/a%20b", "'a%20b'"),
        ("s3:http://h/mail/a b", "'a b'"),
        ("s3:http://h/mail#x", "#"),
        ("s3:http://h/mail?regoin=x", "'regoin'"),
        ("s3:http://h/mail?k2v=http://h", "'k2v'"),
        ("s3:http://h/mail?region", "name=value"),
        ("s3:http://h/mail?region=", "'region'"),
        ("s3:http://h/mail?region=a&region=a", "'region'"),
        ("s3:http://h/mail?region=a/b", "'a/b'"),
        ("s3:http://h/mail?style=both", "style=both"),
        ("s3:http://h/mail?verify=false", "verify=false"),
        ("garage:mail?" + K2V, "begins with http"),
        ("garage:http://h/mail", "K2V"),
        ("garage:http://h/mail?k2v=h:1", "h://"),
        ("garage:http://h/mail?k2v=http://h:1/x", "without a path"),
    ],
)
def test_what_is_no_place_is_refused_with_a_hint(text: str, said: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        Place.parse(text)
    assert said in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize("text", ["s3:https://key:hush@h/mail", "garage:http://h/mail?k2v=http://k:hush@h:1"])
def test_credentials_in_a_place_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(BadConfiguration) as refused:
        Place.parse(text)
    assert "AWS_ACCESS_KEY_ID" in refused.value.hint
    assert "hush" not in str(refused.value) + refused.value.hint


def test_what_is_heavy_is_not_loaded_before_it_is_needed() -> None:
    """Starting the program, and the store in a folder, take no client of any network."""
    program = (
        "import sys, aerogramme_cli.main\n"
        "from aerogramme.store import open_stores\n"
        "for place in ('sqlite:mail', 's3:mail', 'garage:http://h/mail?k2v=http://h:1'):\n"
        "    open_stores(place)\n"
        "print([name for name in ('obstore', 'httpx', 'boto3', 'botocore') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=120)
    assert done.stdout == b"[]\n"
