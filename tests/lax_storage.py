"""The storage, but names may have control characters, as in dCache and in Linux: `-m` runs it.

Ours refuses them at its doors; the API serves storages that do not.
"""

from __future__ import annotations

import re
import sys

from storage_sim import namespace
from storage_sim.__main__ import main

namespace._CONTROL = re.compile("\0")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
