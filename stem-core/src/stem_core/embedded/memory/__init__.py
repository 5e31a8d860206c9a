"""`memory://`: the broker and result backend that need no server, and the reference model.

Shared by name inside one process, so that a producer and a worker meet; another
process cannot see it. The parts, lowest first: `agenda` and `sleepers` know time
and waiting, `queues`, `claims` and `records` keep things, `machine` decides every
step, `store` adds the lock and the clock, `broker` and `backend` are the contracts.
"""
