"""``python -m padinv``."""

import sys

from padinv.cli import main

if __name__ == "__main__":
    sys.exit(main())
