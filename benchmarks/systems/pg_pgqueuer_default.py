"""PgQueuer with the batch that it has when nobody says otherwise: 10."""

from pg_pgqueuer import close, enqueue, enqueue_many, open, run, serve

__all__ = ["close", "enqueue", "enqueue_many", "open", "run", "serve"]
