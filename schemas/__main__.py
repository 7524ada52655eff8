"""`python -m schemas release`: write down which schemas are released from now on."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from schemas import evolution


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m schemas", description=__doc__)
    parser.add_argument("command", choices=["release"])
    parser.parse_args()
    try:
        content = evolution.release()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    file = Path(__file__).with_name("released.json")
    file.write_text(json.dumps(content, indent=2) + "\n")
    print(f"{len(content)} schemas are released")
    return 0


if __name__ == "__main__":
    sys.exit(main())
