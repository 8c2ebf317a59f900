"""All partitions of an account, for what passes an account on without opening it: copies and backups."""

from aerogramme.log.entry import PARTITION as LOG
from aerogramme.mailbox.audit.setting_aside import PARTITION as SET_ASIDE
from aerogramme.mailbox.history.letting_go import PARTITION as UNNEEDED
from aerogramme.mailbox.incoming.incoming import PARTITION as INCOMING
from aerogramme.mailbox.incoming.tally import PARTITION as USAGE
from aerogramme.mailbox.keys.keys import PARTITION as KEYS
from aerogramme.mailbox.keys.uses import PARTITION as USES
from aerogramme.store.copying import Partition

# The order in which they are read and written. A letter becomes an entry, and what an entry is sealed with is
# among the keys, without which nobody opens the account: so whatever is cut short, nothing is lost by it.
# What is set aside comes from any of the others.
_NAMES = (INCOMING, LOG, UNNEEDED, USES, USAGE, SET_ASIDE, KEYS)
PARTITIONS = [Partition(name, noted=name != LOG) for name in _NAMES]
