"""Another process on a SQLite file: `python -m tests.stores.locker FILE` holds its write lock.

It says "locked" when it has it, and lets go when its input ends.
"""

from __future__ import annotations

import sqlite3
import sys

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
connection.close()
