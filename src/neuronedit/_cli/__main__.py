"""``python -m neuronedit._cli`` is the command ``neuronedit``."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
