"""A signer for Stem. Stem finds it by the scheme of a URL: `frozen-signer://`."""
