"""A backend for Stem. Stem finds it by the scheme of a URL: `frozen-backend://`."""
