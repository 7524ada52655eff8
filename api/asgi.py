"""What an ASGI server imports; `python -m api serve` is the way it is meant to be run."""

import os

from api import settings
from api.app import create_app

app = create_app(settings.from_env(os.environ))  # noqa: TID251 - starts a process
