"""The contracts as tests: what "implements the contract" means.

One module for each verb or companion, each a class of tests; `broker`, `results` and
`signer` put them together for authors. Every test names the promises that it proves, by
the ids in the docstrings of `stem_core.contracts`, and the level and the capabilities
without which it is not claimed.

Rule of this room: a test knows the contract and nothing of any store.
"""
