"""What the plugin offers, and what it says where the driver cannot work."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from stem_postgres import plugin
from stem_postgres.options import PostgresOptions

# Its parts in C are hidden, and the part in Python finds no libpq: as after a plain
# `pip install stem-postgres` on a machine without one.
WITHOUT_LIBPQ = """
import ctypes.util, sys
sys.modules["psycopg_c"] = sys.modules["psycopg_binary"] = None
ctypes.util.find_library = lambda name: None
ctypes.CDLL = None
"""

DOORS = {
    "the package": "from stem_postgres import PostgresBroker",
    "the result backend": "import stem_postgres; stem_postgres.PostgresResultBackend",
    "a URL": """
import asyncio
from stem_core import Stem
asyncio.run(Stem("postgresql://localhost/shop").enqueue("a"))
""",
    "the command": """
from stem_core.cli import main
sys.exit(main(["migrate", "up", "postgresql://localhost/shop"]))
""",
    "another command": """
import os
from stem_core.cli import main
os.environ["STEM_BROKER_URL"] = "postgresql://localhost/shop"
sys.exit(main(["queues", "list"]))
""",
}


def test_broker_and_backend_open_the_same_schemes():
    (broker,), (backend,) = plugin.stem_register_brokers(), plugin.stem_register_backends()
    assert broker.schemes == backend.schemes == ("postgresql", "postgres", "pg")
    assert broker.options.endswith(PostgresOptions.__name__)


@pytest.mark.parametrize("door", DOORS)
def test_at_every_door_a_driver_without_libpq_names_what_to_install(door: str):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBPQ + DOORS[door]],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("STEM_")},
    )
    assert done.returncode != 0
    assert "psycopg finds no libpq on this machine" in done.stderr
    assert 'pip install "stem-postgres[binary]"' in done.stderr
    assert "uninstall" not in done.stderr


def test_who_looks_for_an_import_error_finds_one():
    code = "try:\n    import stem_postgres.factory\nexcept ImportError:\n    print('so')"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBPQ + code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "so\n"
