"""The data sources that come with the package, one a file; :mod:`fsseg_bench.protocol.source` finds them by name."""
