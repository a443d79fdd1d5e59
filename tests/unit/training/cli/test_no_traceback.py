"""Whatever goes wrong, a person reads one sentence. What nobody foresaw leaves its details in a file."""

import errno
import re
from pathlib import Path

import pytest
from rtseg_training.cli import app as module
from rtseg_training.errors import RecipeError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RecipeError("recipe x: lr"), "recipe x: lr"),
        (OSError(errno.ENOSPC, "No space left on device", "/runs/log.csv"), "/runs/log.csv: No space left on device"),
        (MemoryError(), "memory ran out; end other programs, or take smaller patches or batches"),
        (
            ZeroDivisionError("division by zero\nsecond line"),
            "nobody foresaw: ZeroDivisionError: division by",
        ),
        (KeyError(), "an error that nobody foresaw: KeyError; report it with"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried"), "the card's memory ran out"),
    ],
)
def test_a_traceback_never_reaches_the_user(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr(module, "app", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert said in " ".join(told.split())
    assert "Traceback" not in told
    details = re.search(r"report it with (\S+\.txt)", told)
    assert (details is not None) == ("nobody foresaw" in said)
    if details is not None:
        assert "Traceback" in Path(details[1]).read_text()
