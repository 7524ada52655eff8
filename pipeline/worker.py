"""What the Faust command line imports: `faust -A pipeline.worker worker` derives, without replay.

`python -m pipeline worker` is the usual way: it adds replay, health and topics.
"""

import os

from pipeline.app import create_app
from pipeline.settings import from_env

app = create_app(from_env(os.environ))  # noqa: TID251 - starts a process
