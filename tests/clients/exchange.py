"""Gives two files or directories each the other's name, so that at no moment either name is free.

Must never leave one of them without a name.
Called by tests/clients/run: exchange.py ONE OTHER.
"""

import ctypes
import os
import sys

# <fcntl.h> and <linux/fs.h>, which Python has no names for.
AT_FDCWD = -100
RENAME_EXCHANGE = 2

one, other = (os.fsencode(path) for path in sys.argv[1:])
if ctypes.CDLL(None, use_errno=True).renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) != 0:
    sys.exit(f"{sys.argv[1]} and {sys.argv[2]}: {os.strerror(ctypes.get_errno())}")
