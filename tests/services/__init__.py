"""Real servers for the tests: found, started, killed and cleared away, without a container.

`services.redis` and `services.postgres` are the doors; `services.fixtures` has one server of
each kind for a whole session. Nothing here knows Stem or a driver.
"""
