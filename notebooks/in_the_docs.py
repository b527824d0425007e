"""Hook of mkdocs.yml: the site shows these notebooks, although they lie outside of docs/.

A page links to them where they lie in the repository, so that the link also works on GitHub, which follows no symbolic
link to a folder.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

FOLDER = Path(__file__).parent
LINK = re.compile(r"]\(((?:\.\./)*)\.\./notebooks/")


@event_priority(100)  # before mkdocs-jupyter, which looks for notebooks among the files
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the notebooks to the files of the site, as notebooks/NAME.ipynb."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        place = f"{FOLDER.name}/{path.name}"
        files.append(File(place, str(FOLDER.parent), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Turn the links of a page from the repository's folder into the site's."""
    return LINK.sub(r"](\1notebooks/", markdown)
