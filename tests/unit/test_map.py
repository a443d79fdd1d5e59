"""README's map of files says what is there."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[2]


def load_maker():
    spec = importlib.util.spec_from_file_location("make_map", ROOT / "docs" / "make_map.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_module_stands_in_the_readme_with_its_purpose():
    readme = (ROOT / "README.md").read_text()
    assert load_maker().renewed(readme) == readme, "README's map is out of date: python docs/make_map.py"


def test_every_module_states_its_purpose_in_one_line():
    maker = load_maker()
    silent = [
        path.name
        for folder in maker.FOLDERS
        for path in (ROOT / folder).glob("*.py")
        if path.name != "__init__.py" and not maker.purpose(path)
    ]
    assert silent == []
