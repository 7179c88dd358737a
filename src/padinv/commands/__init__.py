"""Commands beside Lightning's: each a ``main(args)`` with its own options, light to import."""
