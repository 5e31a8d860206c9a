"""A new plugin from nothing: `stem plugins new` writes a whole distribution that works.

Rule of this room: what it writes imports `stem_core.plugin` and nothing else of Stem. The
templates are files that read like what they become; nothing is made up in code.
"""
