"""Style sheets and scripts. They hold no patient data, so a browser gets them before anybody has logged in."""

from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "static"


def mount_static(app: FastAPI) -> None:
    """Everything in `static/` under /static. A link that leads out of the folder is not followed."""
    app.mount("/static", StaticFiles(directory=FOLDER, follow_symlink=False), name="static")
