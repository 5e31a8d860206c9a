"""A broker for Stem. Stem finds it by the scheme of a URL: `frozen-broker://`."""
