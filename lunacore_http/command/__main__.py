"""``python -m lunacore_http.command`` is the same as ``lunacore``."""

import sys

from lunacore_http.command import main

# Worker processes import this module again.
if __name__ == "__main__":
    sys.exit(main())
