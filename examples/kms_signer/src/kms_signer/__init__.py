"""An example: a signer for Stem whose key stays in a key management service."""
