"""`python -m secretivex.cli.bench`."""

import sys

from secretivex.cli.bench import main

sys.exit(main())
