"""`python -m stem_core` is the `stem` program."""

from __future__ import annotations

import sys

from stem_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
