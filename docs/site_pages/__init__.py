"""Write the pages of the site that come from the code and from records: references, tables of tasks and of speed."""

from __future__ import annotations

import shutil
from pathlib import Path

from site_pages import api, commands, configuration, registered, speed


def write_all(docs: Path) -> None:
    """Write ``_generated/`` anew.

    Args:
        docs: the folder of the site.
    """
    out = docs / "_generated"
    shutil.rmtree(out, ignore_errors=True)
    for part in (api, commands, configuration, registered, speed):
        part.write(out)
