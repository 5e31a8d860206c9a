"""Promises: what a broker, a backend, a signer and their companions must do.

Only abstract classes, protocols, hook specifications and the frozen values
that cross them. Every promise has an id in square brackets; the conformance
kit holds a test of the same id. Plugin authors import all of it from
`stem_core.plugin`.
"""
