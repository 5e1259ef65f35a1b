"""The front door: ``python main.py 10 1024x576``."""

import sys

from tirada.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
