"""What a deployment says to Stem: the ``STEM_*`` variables as typed, frozen values.

Rule of this package: a variable is one field with one default and one line of
help, and it is here only when something reads it. Secrets are `Secret`, URLs are
`StemURL`: no repr of a configuration can leak.
"""

from __future__ import annotations

from stem_core.model.settings.config import StemConfig
from stem_core.model.settings.reference import reference_markdown
from stem_core.model.settings.security import SigningConfig, TlsConfig, check_tls

__all__ = ["SigningConfig", "StemConfig", "TlsConfig", "check_tls", "reference_markdown"]
