"""Pictures of runs: what a drawing says is decided here, how it is drawn by `clikit.plot`."""
