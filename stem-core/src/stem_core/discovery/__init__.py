"""The plugin host: finds a plugin by the scheme of a URL, loads it, checks it, explains it.

Two layers. The names of entry points are an index that costs no import (`index`);
the object behind a name is a thin pluggy module (`loading`, `activation`). Rule of
this room: a plugin that nobody asked for is never imported, and one that fails
harms nobody but those who ask for it.
"""
