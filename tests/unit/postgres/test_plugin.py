"""What the plugin offers, and what it says where the driver cannot work."""

from __future__ import annotations

import subprocess
import sys

from stem_postgres import plugin
from stem_postgres.options import PostgresOptions

WITHOUT_LIBPQ = """
import sys
sys.modules["psycopg"] = None
try:
    import stem_postgres.factory
except ImportError as error:
    print(error)
"""


def test_broker_and_backend_open_the_same_schemes():
    (broker,), (backend,) = plugin.stem_register_brokers(), plugin.stem_register_backends()
    assert broker.schemes == backend.schemes == ("postgresql", "postgres", "pg")
    assert broker.options.endswith(PostgresOptions.__name__)


def test_a_driver_that_does_not_load_names_what_to_install():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBPQ], capture_output=True, text=True, check=True
    )
    assert 'pip install "stem-postgres[binary]"' in done.stdout
