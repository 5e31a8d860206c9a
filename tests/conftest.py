"""What holds for all suites: how Hypothesis runs, and which signals the tests hear."""

from __future__ import annotations

import signal

from hypothesis import settings

# Fixtures that start real servers, for the tests that name them.
pytest_plugins = ["services.fixtures"]

# A slow machine is no bug, and a failure says how to see it again.
settings.register_profile("stem", deadline=None, print_blob=True)
settings.load_profile("stem")

# Whoever runs the tests in the background of a script, or under nohup, has signals ignored, and
# so would everything that they start, where those are tested. A handler is not inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)
