"""Reading pickles without running them: the machine, what it may call, and the files that pickles are in."""
