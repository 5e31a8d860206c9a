"""The contracts, for stores that a URL names::

    pytest --pyargs stem_core.testing.conformance --stem-broker-url=redis://localhost:6379/0

`--stem-backend-url` and `--stem-signer-url` prove the other two, and `--stem-verifier-url`
names a signer with the same key that can only verify. Whatever is given is proven, and a
backend at the broker's own URL with it. `stem certify` runs this package.
"""
