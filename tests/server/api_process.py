"""The API as a process of its own: `python api_process.py <database url> <port>`."""

import sys
from typing import Any

from recoup_core.rules.engine.compile import EngineChoice
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.settings import ApiSettings, Settings
from recoup_core.storage.engine import Database
from recoup_core.wiring import Service, shipped_policies
from recoup_server.app import run_api


class NoMeasures:
    """Listens to nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def main(url: str, port: int) -> None:
    settings = Settings(environment="development", api=ApiSettings(port=port))
    book = PolicyBook.load(shipped_policies(), EngineChoice.CLOSURES)
    run_api(Service(settings, Database(url), {}, book, NoMeasures()), settings)
    sys.stdout.write("stopped\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
