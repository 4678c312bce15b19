"""Sphinx settings. The pages of the reference and the tables of tasks are written by ``site_pages`` when the build begins."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from pygments.lexers.shell import BashLexer  # noqa: E402
from site_pages import write_all  # noqa: E402
from site_pages.signatures import shorten  # noqa: E402

project = "selfsup"
author = "The selfsup authors"
copyright = "The selfsup authors"
release = metadata.version("selfsup")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["site_pages", "_build", "_generated/fragments"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
suppress_warnings = ["config.cache"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"exclude-members": "model_config"}
add_module_names = False
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "pydata_sphinx_theme"
html_title = "selfsup"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "show_nav_level": 1,
    "show_toc_level": 2,
    "navigation_depth": 3,
    "header_links_before_dropdown": 8,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "navbar_persistent": ["search-button"],
    "pygments_light_style": "friendly",
    "pygments_dark_style": "monokai",
}
html_sidebars = {"index": [], "start": []}


def setup(app: object) -> None:
    """Write the generated pages before Sphinx reads any."""
    app.connect("builder-inited", lambda app: write_all(HERE))  # type: ignore[attr-defined]
    app.add_lexer("console", BashLexer)  # type: ignore[attr-defined]  # commands without a prompt, to be copied
    app.connect("autodoc-process-signature", shorten)  # type: ignore[attr-defined]
