"""Reads pickles without running them: the machine, the functions it may call, and the files that hold pickles."""
