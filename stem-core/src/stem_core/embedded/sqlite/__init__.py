"""SQLite: one file that every process of a machine may send to and work from.

WAL mode, every write `BEGIN IMMEDIATE`, record and acknowledgement and follow-ups in one
transaction. A process may be killed at any moment: what was committed is there, what was
not is not.
"""
