"""`python -m fleetmdm` is `fleetmdm`."""

import sys

from fleetmdm.cli.main import main

sys.exit(main())
