"""A user whose keys are on devices of the user's own does not log in here, whatever the password."""

import base64
from dataclasses import replace

import pytest

from tests.helpers.imap_world import PASSWORD, USER, OneUser, World, imap_world

PLAIN = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())


@pytest.mark.parametrize("password", [PASSWORD, "wrong"])
async def test_a_login_is_refused_with_the_reason_and_nothing_is_opened(password: str) -> None:
    async with imap_world() as world:
        end_to_end(world)
        client = await world.client(login=False)
        for command in (b"LOGIN %b %b" % (USER.encode(), password.encode()), b"AUTHENTICATE PLAIN " + PLAIN):
            answer = await client.command(command)
            assert answer[-1].startswith(
                b"x NO [CONTACTADMIN] This mailbox is read on its user's own devices"
            )
        assert not world.accounts.opened()


def end_to_end(world: World) -> None:
    directory = world.service.directory
    assert isinstance(directory, OneUser)
    directory._user = replace(directory._user, end_to_end=True)
