"""How the site is built: `make docs`. Pages are Markdown that reads well on GitHub too; nothing is fetched."""

import logging
import os
import tempfile

from airflow_provider_modelmax import __version__

# The reference imports the package, and with it Airflow: its home is not the reader's.
_HOME = tempfile.TemporaryDirectory(prefix="modelmax-docs-")
os.environ["AIRFLOW_HOME"] = _HOME.name
logging.getLogger("airflow").setLevel(logging.WARNING)

project = "airflow-provider-modelmax"
author = "the authors of airflow-provider-modelmax"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]

myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True

# Only references to names of ours are checked: pages of others are not fetched.
nitpick_ignore_regex = [("py:.*", r"(?!airflow_provider_modelmax\.).*")]

highlight_language = "text"
default_role = "code"  # as the simulator's docstrings mean it
html_theme = "furo"
html_title = f"ModelMax for Airflow {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp"
