"""The page that a package index shows of the project; all else is said in pyproject.toml.

Seen from an index, the README's paths lead nowhere. They lead to the repository where
pyproject.toml tells its address (`Source` in `[project.urls]`), and are told as paths otherwise.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from setuptools import setup

_ROOT = Path(__file__).parent
_PICTURE_AND_CAPTION = re.compile(r"!\[[^\]]*\]\([^)]*\)\n\n\*[^*]*\*\n")
_PICTURE = re.compile(r"(?<=!)\[([^\]]*)\]\(([^):#]*)\)")
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^):#]*)\)")
_WHERE_FILES_ARE = """\
The files that are named here come with the source distribution; those below `dtrak_stream/` are
installed with the package, too.
"""


def page(readme: str, changelog: str, address: str | None) -> str:
    """Return what an index shows: the README without relative links, then the changelog.

    Parameters
    ----------
    readme, changelog
        Markdown.
    address
        Where the repository can be looked at, as GitHub and its like lay it out; None if nowhere.
    """
    if address:
        readme = _PICTURE.sub(rf"[\1]({address}/raw/HEAD/\2)", readme)
        readme = _LINK.sub(rf"[\1]({address}/blob/HEAD/\2)", readme)
    else:
        readme = _PICTURE_AND_CAPTION.sub(_WHERE_FILES_ARE, readme)
        readme = _LINK.sub(r"\1 (`\2`)", readme)
    a_level_deeper = re.sub(r"^#", "##", changelog, flags=re.MULTILINE)
    return f"{readme}\n{a_level_deeper}"


def _source_address() -> str | None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    address: str | None = project.get("urls", {}).get("Source")
    return address


if __name__ == "__main__":
    setup(
        long_description=page(
            (_ROOT / "README.md").read_text(encoding="utf-8"),
            (_ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
            _source_address(),
        ),
        long_description_content_type="text/markdown",
    )
