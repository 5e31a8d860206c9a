"""How the site is made, by `nox -s docs`: a page that is not in the navigation is an error."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_tools"))

project = "Stem"
author = "the Stem authors"
version = release = metadata.version("stem-core")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "stem_sphinx"]
exclude_patterns = ["_tools"]
nitpicky = False  # annotations name types of the standard library, and no page is fetched for them

# ── Markdown ─────────────────────────────────────────────────────────────────

myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # a page may begin with the level that fits where it is read

# ── docstrings ───────────────────────────────────────────────────────────────

default_role = "py:obj"  # `name` in a docstring: a link where there is something to link to
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 72
python_use_unqualified_type_names = True
add_module_names = False
napoleon_use_ivar = True
toc_object_entries_show_parents = "hide"

highlight_language = "text"  # of a block that does not say what it is

# ── looks: nothing is loaded from another host ───────────────────────────────

html_theme = "furo"
html_title = "Stem"
html_static_path = ["_static"]
html_css_files = ["stem.css"]
html_copy_source = False
html_show_copyright = False

# ── navigation ───────────────────────────────────────────────────────────────

stem_navigation = {
    "Tutorial": ["tutorial", "newcomer"],
    "How to": [
        "how-to/deploy",
        "how-to/monitor",
        "core-concepts/producer",
        "workers/running",
        "workers/watch",
        "workers/isolation",
        "workers/upgrading",
        "workers/programmatic-integration",
        "testing/test-your-tasks",
        "testing/fault-tools",
        "plugins/write-a-broker",
        "signing/README",
        "signing/rotation",
        "how-to/migrate-from-celery",
        "how-to/migrate-from-dramatiq",
        "how-to/migrate-from-rq",
    ],
    "Reference": [
        "reference/api/stem_core",
        "reference/api/stem_core.plugin",
        "reference/api/stem_core.testing",
        "reference/api/adapters",
        "reference/cli",
        "reference/configuration",
        "reference/urls",
        "reference/capabilities",
        "brokers/sqlite",
        "brokers/redis",
        "brokers/postgres",
        "brokers/postgres-sql",
        "reference/errors",
        "reference/hooks",
        "reference/wire-format",
    ],
    "Explanation": [
        "explanation/architecture",
        "core-concepts/delivery-semantics",
        "explanation/security",
        "signing/threats",
        "reliability",
        "explanation/benchmarks",
        "decisions/README",
        "releasing",
    ],
}
