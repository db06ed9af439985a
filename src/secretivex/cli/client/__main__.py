"""`python -m secretivex.cli.client`."""

import sys

from secretivex.cli.client import main

sys.exit(main())
