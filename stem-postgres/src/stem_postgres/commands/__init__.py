"""The commands that this distribution adds to the `stem` program.

Rule of this room: nothing outside of it imports it, so that a worker never loads click for it.
"""
