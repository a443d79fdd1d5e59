"""Lists in YAML of what the page of results shows."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import ValidationError

from rtseg_daemon.calibration import StrictModel
from rtseg_training.errors import RecipeError
from rtseg_training.learn.recipe import first_fault

Item = TypeVar("Item", bound=StrictModel)


def load_list(path: Path, kind: type[Item]) -> list[Item]:
    """Every item of a file. Raises RecipeError naming what is wrong."""
    try:
        return [kind.model_validate(item) for item in yaml.safe_load(path.read_text()) or []]
    except ValidationError as error:
        raise RecipeError(f"{path}: {first_fault(error)}") from error
    except (OSError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} cannot be read as YAML: {error}") from error
