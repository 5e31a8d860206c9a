"""Watching: events handed to observers, and the log that people and machines read.

Observers see; they change nothing. When nobody watches, nothing is built.
"""
