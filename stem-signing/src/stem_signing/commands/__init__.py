"""`stem keys`: a room of the `stem` program that comes with this distribution.

Rule of this package: it is imported by the program and by nothing else, so it may use the
program's own parts; the signer knows nothing of it.
"""
