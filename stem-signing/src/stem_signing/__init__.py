"""Signatures for Stem. Not built yet: importing works, and no URL scheme is registered."""
