"""Write the pages of the site that come from the code: the references of the API and the configuration, tables of tasks."""

from __future__ import annotations

import shutil
from pathlib import Path

from site_pages import api, commands, configuration, registered


def write_all(docs: Path) -> None:
    """Write ``_generated/`` anew.

    Args:
        docs: the folder of the site.
    """
    out = docs / "_generated"
    shutil.rmtree(out, ignore_errors=True)
    for part in (api, commands, configuration, registered):
        part.write(out)
