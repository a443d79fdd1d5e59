"""Style sheets and scripts: small, our own, and all there."""

import gzip
import re

from rtseg_daemon.web.pages.render import TEMPLATES
from rtseg_daemon.web.static_files import FOLDER

MOST_BYTES = 200 * 1024


def test_all_assets_together_are_small() -> None:
    sizes = {path.name: len(gzip.compress(path.read_bytes())) for path in FOLDER.rglob("*") if path.is_file()}
    assert len(sizes) > 5
    assert sum(sizes.values()) <= MOST_BYTES, sizes


def test_every_file_that_a_page_or_script_names_is_there() -> None:
    named = {name for page in TEMPLATES.glob("*.html") for name in re.findall(r'"/static/([^"]+)"', page.read_text())}
    assert "app.css" in named
    for script in FOLDER.rglob("*.js"):
        folder = script.parent.relative_to(FOLDER)
        named |= {str(folder / one) for one in re.findall(r'from "\./([^"]+)"', script.read_text())}
    assert {name for name in named if not (FOLDER / name).is_file()} == set()


def test_nothing_is_loaded_from_elsewhere() -> None:
    for path in FOLDER.rglob("*"):
        if path.suffix in (".js", ".css"):
            assert not re.search(r"""(?:import|url|fetch)\W+["']?https?:""", path.read_text()), path.name
