"""Stand-alone exporters: standard library only, run on a bare target host."""
