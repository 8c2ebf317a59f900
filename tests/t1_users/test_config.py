"""The settings: what is read, what is refused, and that the docs name every one of them."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from aerogramme import config as module
from aerogramme.config import Config, TcpAddress, UnixAddress, parse_address
from aerogramme.errors import BadConfiguration
from aerogramme.store.cache import CachedStores

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


def table(text: str) -> Config:
    return Config.from_table(tomllib.loads(text), Path("/etc/aerogramme"))


def test_a_data_folder_is_enough(tmp_path):
    config = Config.for_data(tmp_path / "mail")
    assert config.data == tmp_path / "mail"
    assert config.users_file == tmp_path / "mail" / "users.toml"
    assert config.store == f"sqlite:{tmp_path}/mail/accounts"
    assert (config.cache, config.cache_size) == (tmp_path / "mail" / "cache", 1 << 30)
    assert config.imap_listen == (TcpAddress("127.0.0.1", 1143),)
    assert config.lmtp_listen == (TcpAddress("127.0.0.1", 1024),)


def test_listeners_given_beside_a_data_folder(tmp_path):
    config = Config.for_data(tmp_path).listening(["[::1]:143"], ["/run/a.sock", "127.0.0.1:24"])
    assert config.imap_listen == (TcpAddress("::1", 143),)
    assert config.lmtp_listen == (UnixAddress(Path("/run/a.sock")), TcpAddress("127.0.0.1", 24))
    assert config.listening([], ["127.0.0.1:24"]).imap_listen == ()
    with pytest.raises(BadConfiguration, match="not HOST:PORT"):
        config.listening(["nowhere"], [])


def test_every_setting():
    config = table(
        """
        data = "store"
        hostname = "mail.example.org"
        log_level = "debug"
        [store]
        url = "sqlite:../accounts"
        cache = "/var/cache/aerogramme"
        cache_size = "16 MiB"
        [imap]
        listen = []
        plaintext_login = true
        scram = false
        [lmtp]
        listen = "/run/lmtp.sock"
        socket_mode = 0o600
        [users]
        file = "../users.toml"
        detail_separator = "-"
        login_domain = "example.org"
        [accounts]
        linger = 0
        deleted_retention = 0.5
        retention = "36h"
        quota = "5G"
        over_quota = "defer"
        [limits]
        message_size = "25 MB"
        recipients = 100
        imap_connections = 2
        imap_connections_per_user = 3
        imap_connections_before_login = 5
        lmtp_connections = 4
        """
    )
    assert config == Config(
        data=Path("/etc/aerogramme/store"),
        store="sqlite:/etc/aerogramme/../accounts",
        cache=Path("/var/cache/aerogramme"),
        cache_size=16 << 20,
        hostname="mail.example.org",
        log_level="debug",
        imap_listen=(),
        imap_plaintext_login=True,
        imap_scram=False,
        lmtp_listen=(UnixAddress(Path("/run/lmtp.sock")),),
        lmtp_socket_mode=0o600,
        users_file=Path("/etc/aerogramme/../users.toml"),
        detail_separator="-",
        login_domain="example.org",
        linger=0.0,
        deleted_retention=43200.0,
        retention=36 * 3600,
        quota=5 << 30,
        over_quota="defer",
        max_message_size=25_000_000,
        max_recipients=100,
        max_imap_connections=2,
        max_imap_connections_per_user=3,
        max_imap_connections_before_login=5,
        max_lmtp_connections=4,
    )


@pytest.mark.parametrize(
    ("url", "store"),
    [
        ("/srv/mail", "sqlite:/srv/mail"),
        ("mail", "sqlite:/etc/aerogramme/mail"),
        ("sqlite:mail", "sqlite:/etc/aerogramme/mail"),
        ("sqlite:/srv/mail", "sqlite:/srv/mail"),
        ("./garage:mail", "sqlite:/etc/aerogramme/garage:mail"),
        ("s3:bucket/prefix?region=eu-1", "s3:bucket/prefix?region=eu-1"),
    ],
)
def test_where_the_accounts_are(url, store):
    assert table(f"data = '/d'\n[store]\nurl = '{url}'").store == store


def test_a_store_given_beside_a_data_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config.for_data(Path("mail"), store="sqlite:elsewhere")
    assert config.store == f"sqlite:{tmp_path}/elsewhere"
    assert config.users_file == tmp_path / "mail" / "users.toml"


@pytest.mark.parametrize(
    ("store", "size", "cached"),
    [
        ("garage:http://127.0.0.1:3900/mail?k2v=http://127.0.0.1:3904", "1 GiB", True),
        ("s3:https://s3.example.org/mail?region=eu", 16 << 20, True),
        ("s3:https://s3.example.org/mail?region=eu", 0, False),
        ("sqlite:accounts", "1 GiB", False),
    ],
)
def test_a_distant_store_has_a_cache_and_nothing_is_touched_yet(tmp_path, store, size, cached):
    config = Config.from_table(
        {"data": "data", "store": {"url": store, "cache": "cache", "cache_size": size}}, tmp_path
    )
    assert isinstance(config.open_stores(), CachedStores) == cached
    assert list(tmp_path.iterdir()) == []


def test_each_field_has_a_setting_and_each_setting_a_field():
    assert {key.field for key in module._KEYS.values()} == {f.name for f in dataclasses.fields(Config)}


def test_the_whole_example_in_the_docs_holds_the_defaults():
    whole = re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]
    settings = tomllib.loads(whole)
    named = {f"{table}.{key}" for table, keys in settings.items() if isinstance(keys, dict) for key in keys}
    named |= {key for key, value in settings.items() if not isinstance(value, dict)}
    assert named == module._KEYS.keys() - {"tls.certificate", "tls.key"}, "which have no default"
    default = Config.for_data(Path(settings["data"]))
    assert Config.from_table(settings, Path("/")) == dataclasses.replace(
        default, hostname=settings["hostname"]
    )


@pytest.mark.parametrize("name", sorted(module._KEYS))
def test_the_docs_explain_every_setting(name):
    assert f"`{name}`" in DOCS.read_text()


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("", "data", "/var/lib/aerogramme"),
        ("data = '/d'\ndaat = 1", "unknown setting daat", "data"),
        ("data = '/d'\n[lmpt]\nlisten = []", "unknown setting lmpt", "the settings are"),
        ("data = '/d'\n[imap]\nlisen = []", "unknown setting imap.lisen", "imap.listen"),
        ("data = '/d'\n[imap]\nsocket_mode = 0", "unknown setting imap.socket_mode", "lmtp.socket_mode"),
        ("data = '/d'\nlimits = 1", "limits is a table", ""),
        ("data = 1", "data: a text", ""),
        ("data = ''", "data: a text", ""),
        ("data = '/d'\nhostname = 'a b'", "hostname: not a host name", ""),
        ("data = '/d'\nlog_level = 'loud'", "log_level: one of debug", ""),
        ("data = '/d'\nlog_level = []", "log_level: one of debug", ""),
        ("data = '/d'\n[imap]\nlisten = 143", "imap.listen: a list", ""),
        ("data = '/d'\n[imap]\nlisten = ['localhost']", "imap.listen: not HOST:PORT", ""),
        ("data = '/d'\n[imap]\nlisten = ['h:65536']", "imap.listen: not HOST:PORT", ""),
        ("data = '/d'\n[lmtp]\nsocket_mode = 0o1000", "lmtp.socket_mode: a whole number", ""),
        ("data = '/d'\n[limits]\nrecipients = true", "limits.recipients: a whole number", ""),
        ("data = '/d'\n[limits]\nmessage_size = '5 MB or so'", "limits.message_size: not a size", ""),
        ("data = '/d'\n[limits]\nmessage_size = 0", "limits.message_size: a message size is", ""),
        ("data = '/d'\n[limits]\nmessage_size = '1 GiB'", "limits.message_size: a message size is", ""),
        ("data = '/d'\n[accounts]\nretention = '23h'", "accounts.retention: a retention is from 1d", ""),
        ("data = '/d'\n[accounts]\nretention = '1 year'", "accounts.retention: not a duration", ""),
        ("data = '/d'\n[accounts]\nquota = 0", "accounts.quota: a quota is a size such as", ""),
        ("data = '/d'\n[accounts]\nquota = '5 apples'", "accounts.quota: a quota is a size such as", ""),
        ("data = '/d'\n[accounts]\nover_quota = 'drop'", "accounts.over_quota: one of refuse, defer", ""),
        ("data = '/d'\n[store]\ncache_size = '15 MiB'", "store.cache_size: a cache has at least", ""),
        ("data = '/d'\n[store]\ncache_size = 'some'", "store.cache_size: not a size", ""),
        ("data = '/d'\n[store]\nurl = ''", "store.url: a text", ""),
        ("data = '/d'\n[store]\nurl = 'ftp:x'", "store.url: There is no kind of store", "sqlite:FOLDER"),
        ("data = '/d'\n[store]\nurl = 'garage:http://h/mail'", "store.url: A Garage store needs", "k2v="),
        ("data = '/d'\n[store]\nurl = 's3:https://h/mail?ca=x'", "store.url: ca= takes an absolute", ""),
        ("data = '/d'\nstore = 'sqlite:/d'", "store is a table", ""),
        ("data = '/d'\n[accounts]\nlinger = -1", "accounts.linger: a number of seconds", ""),
        ("data = '/d'\n[accounts]\nlinger = nan", "accounts.linger: a number of seconds", ""),
        ("data = '/d'\n[users]\ndetail_separator = '@'", "users.detail_separator: one of", ""),
        ("data = '/d'\n[users]\nlogin_domain = 'a@b'", "users.login_domain: a domain", ""),
    ],
)
def test_what_is_wrong_is_named(text, what, hint):
    with pytest.raises(BadConfiguration) as caught:
        table(text)
    assert what in str(caught.value)
    assert hint in caught.value.hint


def test_a_file_is_named_in_its_errors(tmp_path):
    path = tmp_path / "aerogramme.toml"
    with pytest.raises(BadConfiguration, match="cannot read"):
        Config.load(path)
    path.write_bytes(b"data = '\xff'")
    with pytest.raises(BadConfiguration, match=r"aerogramme\.toml is not UTF-8"):
        Config.load(path)
    path.write_text("data = ")
    with pytest.raises(BadConfiguration, match=r"aerogramme\.toml: "):
        Config.load(path)
    path.write_text("datum = 1")
    with pytest.raises(BadConfiguration, match=r"aerogramme\.toml: unknown setting") as caught:
        Config.load(path)
    assert caught.value.hint
    path.write_text("data = 'd'")
    assert Config.load(path).data == tmp_path / "d"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("localhost:24", "localhost", 24), ("*:24", "", 24), (":24", "", 24), ("[::]:0", "::", 0)],
)
def test_addresses(text, host, port):
    address = parse_address(text, Path("/"))
    assert address == TcpAddress(host, port)
    assert parse_address(str(address), Path("/")) == address


def test_a_path_that_no_socket_can_have():
    with pytest.raises(ValueError, match="107 bytes"):
        parse_address("/" + "x" * 107, Path("/"))
