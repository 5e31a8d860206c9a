"""The worker: fetch → verify → decode → admit → run → decide → settle, and what keeps it alive.

`decide` and `queues` only compute; `runner` shows the way of one delivery; the other
modules each do one thing at a time for many deliveries: fetch, settle, keep leases.
"""
