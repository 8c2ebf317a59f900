"""SCRAM's messages: the example of RFC 7677 §3, the grammar of RFC 5802 §7, and what must fail."""

from base64 import b64decode, b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aerogramme.errors import AuthenticationFailed, BadSyntax
from aerogramme.imap.scram import MAX_NAME, ChannelBinding, Proof, Scram, saslprep
from aerogramme.seal import scram as keys
from aerogramme.seal.secrets import Secret
from tests.helpers.scram_client import NotTheServer, ScramClient

SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
SALTED = keys.salted_password(Secret("pencil"), SALT)
CLIENT_KEY = keys.client_key(SALTED)
STORED_KEY, SERVER_KEY = keys.stored_key(CLIENT_KEY), keys.server_key(SALTED)
CERTIFICATE = ChannelBinding("tls-server-end-point", bytes(range(32)))
BOUND = "p=tls-server-end-point,,"


def proof_of(client: ScramClient, server: Scram) -> Proof:
    server.first(client.first())
    return server.final(client.final(server.challenge(SALT, 4096)))


def test_example_of_rfc7677() -> None:
    server = Scram(plus=False, binding=None, nonce=b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    server.first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    assert (server.user, server.authzid) == ("user", None)
    assert server.challenge(SALT, 4096) == (
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    proof = server.final(
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert proof.client_key(STORED_KEY) == CLIENT_KEY
    assert proof.client_key(bytes(32)) is None
    assert proof.verifier(SERVER_KEY) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize(
    ("plus", "binding", "header", "data"),
    [
        (False, None, "n,,", b""),
        (False, None, "y,,", b""),  # can bind, and rightly believes that the server cannot
        (False, CERTIFICATE, "n,,", b""),  # cannot bind
        (True, CERTIFICATE, BOUND, CERTIFICATE.data),
        (True, CERTIFICATE, "p=tls-server-end-point,a=user,", CERTIFICATE.data),
        (False, None, "n,a=us=2Cer,", b""),
    ],
)
def test_both_know_the_secret(plus: bool, binding: ChannelBinding | None, header: str, data: bytes) -> None:
    server = Scram(plus=plus, binding=binding)
    client = ScramClient("user", "pencil", header=header, binding=data)
    proof = proof_of(client, server)
    assert proof.client_key(STORED_KEY) == CLIENT_KEY
    client.verify(proof.verifier(SERVER_KEY))
    assert server.authzid == {"a=user": "user", "a=us=2Cer": "us,er"}.get(header.split(",")[1])


def test_another_secret() -> None:
    client = ScramClient("user", "pencils")
    proof = proof_of(client, Scram(plus=False, binding=None))
    assert proof.client_key(STORED_KEY) is None
    with pytest.raises(NotTheServer):
        client.verify(proof.verifier(SERVER_KEY))


def test_every_exchange_has_its_own_nonce() -> None:
    first = Scram(plus=False, binding=None)
    client = ScramClient("user", "pencil")
    first.first(client.first())
    recorded = client.final(first.challenge(SALT, 4096))
    again = Scram(plus=False, binding=None)
    again.first(client.first())
    again.challenge(SALT, 4096)
    with pytest.raises(AuthenticationFailed, match="nonce"):
        again.final(recorded)


def test_a_name_with_commas_and_equals_signs() -> None:
    server = Scram(plus=False, binding=None)
    proof = proof_of(ScramClient("a,b=c=2Cd", "pencil"), server)
    assert server.user == "a,b=c=2Cd"
    assert proof.client_key(STORED_KEY) == CLIENT_KEY


# --- channel binding (RFC 5802 §6)


def test_who_was_told_that_there_is_no_binding_has_been_lied_to() -> None:
    server = Scram(plus=False, binding=CERTIFICATE)
    with pytest.raises(AuthenticationFailed, match="hidden"):
        server.first(ScramClient("user", "pencil", header="y,,").first())


@pytest.mark.parametrize(
    ("plus", "binding", "header", "reason"),
    [
        (True, CERTIFICATE, "n,,", "go together"),
        (False, CERTIFICATE, BOUND, "go together"),
        (True, CERTIFICATE, "p=tls-unique,,", "use tls-server-end-point"),
        (True, CERTIFICATE, "p=tls-exporter,,", "use tls-server-end-point"),
        (True, CERTIFICATE, "p=TLS-server-end-point,,", "not known"),
        (True, None, BOUND, "there is none"),
    ],
)
def test_binding_that_does_not_fit(
    plus: bool, binding: ChannelBinding | None, header: str, reason: str
) -> None:
    with pytest.raises(AuthenticationFailed, match=reason):
        Scram(plus=plus, binding=binding).first(ScramClient("user", "pencil", header=header).first())


@pytest.mark.parametrize("seen", [b"", bytes(32), CERTIFICATE.data[:-1], CERTIFICATE.data + b"\0"])
def test_somebody_between(seen: bytes) -> None:
    client = ScramClient("user", "pencil", header=BOUND, binding=seen)
    with pytest.raises(AuthenticationFailed, match="between us"):
        proof_of(client, Scram(plus=True, binding=CERTIFICATE))


def test_the_header_cannot_be_changed_on_the_way() -> None:
    """Somebody who turns "y" into "n" hides the lie from the server, but the client's `c` still says "y"."""
    client = ScramClient("user", "pencil", header="y,,")
    server = Scram(plus=False, binding=CERTIFICATE)
    server.first(client.first().replace(b"y,,", b"n,,", 1))
    with pytest.raises(AuthenticationFailed, match="between us"):
        server.final(client.final(server.challenge(SALT, 4096)))


def test_nothing_can_be_changed_on_the_way() -> None:
    client = ScramClient("user", "pencil")
    server = Scram(plus=False, binding=None)
    server.first(client.first())
    challenge = server.challenge(SALT, 4096)
    assert server.final(client.final(challenge)).client_key(STORED_KEY) == CLIENT_KEY
    weaker = server.final(client.final(challenge.replace(b"i=4096", b"i=1")))
    assert weaker.client_key(STORED_KEY) is None


# --- grammar


FIRST = [
    b"",
    b"n",
    b"n,,",
    b"n,,n=user",
    b"n,,n=user,r=",
    b"n,,n=,r=abc",
    b"n,,r=abc",
    b"n,,r=abc,n=user",
    b"n,,n=user,r=a c",
    b"n,,n=user,r=a\x7fc",
    b"n,,n=user,r=abc,",
    b"n,,n=user,r=abc,x",
    b"n,,n=user,r=abc,1=x",
    b"n,,n=user,r=abc,x=",
    b"n,,n=us=er,r=abc",
    b"n,,n=us=2cer,r=abc",
    b"n,,n=user=,r=abc",
    b"n,,n=us\0er,r=abc",
    b"n,,n=us\xffer,r=abc",
    b"n,n=user,r=abc",
    b"n,a=,n=user,r=abc",
    b"n,b=user,n=user,r=abc",
    b"N,,n=user,r=abc",
    b"x,,n=user,r=abc",
    b"F,n,,n=user,r=abc",  # RFC 5801 §4: not for a mechanism that is one by itself
    b"p,,n=user,r=abc",
    b"p=,,n=user,r=abc",
    b"p=tls_unique,,n=user,r=abc",
    b"n,,m=ext,n=user,r=abc",
    b"n,,n=user,r=abc,m=ext",
    b"n,,n=user,r=abc,x=y,m=ext",
    b"n,,n=user,r=abc\r\n",
]


@pytest.mark.parametrize("message", FIRST)
def test_no_client_first_message(message: bytes) -> None:
    with pytest.raises(BadSyntax):
        Scram(plus=False, binding=None).first(message)


def test_unknown_extensions_are_passed_over_but_proved() -> None:
    client = ScramClient("user", "pencil")
    client.bare += ",x=y=z,w=ö"
    assert proof_of(client, Scram(plus=False, binding=None)).client_key(STORED_KEY) == CLIENT_KEY


PROOF = b64encode(bytes(32))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"c=biws",
        b"c=biws,r=NONCE",
        b"r=NONCE,c=biws,p=" + PROOF,
        b"c=biws,p=" + PROOF + b",r=NONCE",
        b"c=biws,r=NONCE,p=",
        b"c=biws,r=NONCE,p=" + PROOF[:-1],
        b"c=biws,r=NONCE,p=" + b64encode(bytes(31)),
        b"c=biws,r=NONCE,p=" + b64encode(bytes(33)),
        b"c=biws,r=NONCE,p=" + PROOF[:-2] + b"B=",  # the same octets, written otherwise
        b"c=biws,r=NONCE,p=" + PROOF + b",x=y",
        b"c=biws,r=NONCE,p=" + PROOF + b"\r\n",
        b"c=biws,r=NONCE,p=x,p=" + PROOF,
        b"c=biws,r=NONCE,m=x,p=" + PROOF,
        b"c=biws,r=NONCE,x,p=" + PROOF,
        b"c=biw,r=NONCE,p=" + PROOF,
        b"c=bi!ws,r=NONCE,p=" + PROOF,
        b"c=biws,r=NONCE,x=\xff,p=" + PROOF,
    ],
)
def test_no_client_final_message(message: bytes) -> None:
    server = Scram(plus=False, binding=None, nonce=b"server")
    server.first(b"n,,n=user,r=client")
    server.challenge(SALT, 4096)
    with pytest.raises(BadSyntax):
        server.final(message.replace(b"NONCE", b"clientserver"))


@example(b"n,,n=user,r=abc", b"c=biws,r=abcS,p=" + PROOF)
@given(st.binary(max_size=80), st.binary(max_size=80))
def test_whatever_comes_is_read_or_refused(first: bytes, final: bytes) -> None:
    server = Scram(plus=False, binding=None, nonce=b"S")
    try:
        server.first(first)
        server.challenge(SALT, 4096)
        proof = server.final(final)
    except (BadSyntax, AuthenticationFailed):
        return
    assert proof.client_key(STORED_KEY) is None


@given(st.data())
def test_a_changed_message_is_never_proof(data: st.DataObject) -> None:
    """Any one octet of what the client says at the end, changed: refused, or the key does not come out."""
    client = ScramClient("user", "pencil")
    server = Scram(plus=False, binding=None)
    server.first(client.first())
    final = bytearray(client.final(server.challenge(SALT, 4096)))
    final[data.draw(st.integers(0, len(final) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        proof = server.final(bytes(final))
    except (BadSyntax, AuthenticationFailed):
        return
    assert proof.client_key(STORED_KEY) is None


def test_nothing_shows_a_proof() -> None:
    proof = proof_of(ScramClient("user", "pencil"), Scram(plus=False, binding=None))
    assert repr(proof) == "Proof()"


# --- names (RFC 4013 §3 and beyond)


@pytest.mark.parametrize(
    ("name", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
        ("\u0627\u0628", "\u0627\u0628"),
    ],
)
def test_saslprep(name: str, prepared: str) -> None:
    assert saslprep(name) == prepared


@pytest.mark.parametrize(
    "name",
    [
        "\u0007",
        "\u0627\u0031",
        "\u0627a\u0628",
        "\u00ad",
        "a\u0085",
        "\ue000",
        "a\ufffd",
        "a" * (MAX_NAME + 1),
        "\u00ad" * MAX_NAME + "aa",
        "\ufdfa" * (MAX_NAME // 17),  # each of them is 18
    ],
    ids=lambda name: ascii(name[:9]),
)
def test_no_name(name: str) -> None:
    with pytest.raises(AuthenticationFailed):
        saslprep(name)
