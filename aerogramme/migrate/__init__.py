"""Moving in from another mail store, and out again.

Theory of operation. A *source* (sources/) tells what is where mail comes from: folders, and of each the
UIDs, flags and dates; and it reads letters. A *target* (targets/) takes what is missing: the opened account,
or, while its password is not known, parcels that are sealed to its public key. A *pass* (passing.py) compares
the two and moves what differs. It may be killed at any moment and made again: it only looks at what is there.
On the way letters are sealed and rendered, in processes beside (sealing.py) where there are many.
"""
