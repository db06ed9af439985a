"""`python -m fleetmdm.cli` is `fleetmdm`."""

import sys

from fleetmdm.cli.main import main

sys.exit(main())
