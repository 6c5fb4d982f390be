"""The log: one line an event, to the terminal or to files that rotate; secrets are never in it."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Any

from devices.settings import LogSettings
from metering.explain import ExplainedError

QUIET = ("uvicorn", "pymodbus", "alembic", "asyncio", "urllib3", "httpx", "httpcore")  # speak when something is wrong
LINE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
SHORTEST_SECRET = 6  # shorter ones would hide half of every line


class HideSecrets(logging.Filter):
    """Puts *** in the place of each secret, wherever in a line it stands."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._secrets = sorted({each for each in secrets if len(each) >= SHORTEST_SECRET}, key=len, reverse=True)

    def filter(self, record: logging.LogRecord) -> bool:
        """Always passes; what it passes holds no secret."""
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        text = record.getMessage()
        if any(each in text or each in (record.exc_text or "") for each in self._secrets):
            record.msg, record.args = self.hide(text), None
            record.exc_text = self.hide(record.exc_text) if record.exc_text else None
        return True

    def hide(self, text: str) -> str:
        """The text without secrets."""
        for each in self._secrets:
            text = text.replace(each, "***")
        return text


class JsonLines(logging.Formatter):
    """One JSON document a line."""

    def format(self, record: logging.LogRecord) -> str:
        """time, level, logger, message, and the trace of a fault."""
        document: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info or record.exc_text:
            document["trace"] = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]
        return json.dumps(document, ensure_ascii=False)


class Rotating(RotatingFileHandler):
    """A file for its owner alone (0600) that is renamed when it is full."""

    def _open(self) -> IO[Any]:  # type: ignore[override]
        fd = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(fd, self.mode, encoding=self.encoding)


def set_up_logging(settings: LogSettings, secrets: Iterable[str] = ()) -> None:
    """Send everything that is logged to where the configuration says.

    Raises
    ------
    ExplainedError
        If the file cannot be written.
    """
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if settings.file:
        path = Path(settings.file)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handler = Rotating(path, maxBytes=settings.max_mb << 20, backupCount=settings.keep, encoding="utf-8")
        except OSError as error:
            raise ExplainedError(str(path), f"cannot be written: {error.strerror}", "mend [log] file") from None
    handler.setFormatter(JsonLines() if settings.format == "json" else logging.Formatter(LINE, "%Y-%m-%dT%H:%M:%S%z"))
    handler.addFilter(HideSecrets(secrets))
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
