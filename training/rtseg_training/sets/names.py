"""What a department calls an organ becomes its TG-263 name, by a table that the department can edit."""

from pathlib import Path

import yaml

from rtseg_daemon.anatomy.called import SHIPPED, NameTable, table_from
from rtseg_training.errors import CaseError


def load_names(path: Path | None = None) -> NameTable:
    """The table at `path`, or the one that came with the package. Raises CaseError naming what is wrong in it."""
    where = str(path or "synonyms.yaml")
    try:
        document = yaml.safe_load((path or SHIPPED).read_text(encoding="utf-8"))
        return table_from(document)
    except (OSError, yaml.YAMLError, AttributeError, UnicodeDecodeError) as error:
        raise CaseError(
            f"{where} is no table of names in UTF-8 ({error}); copy the shipped synonyms.yaml and edit it"
        ) from error
    except ValueError as error:
        raise CaseError(f"{where}: {error}") from error
