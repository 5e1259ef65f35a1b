"""The command line: one file per command; ``console`` is the only printer, ``main`` the only error boundary."""
