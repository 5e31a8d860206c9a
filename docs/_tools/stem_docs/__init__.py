"""What the documentation draws and lists from the code, so that no page can go stale.

`python -m stem_docs` writes every generated page and picture anew; `tests/docs` compares.
Rule of this package: it adds no fact. What a page says stands beside the thing that it is
about, in the code; only the words of a picture are here.
"""
