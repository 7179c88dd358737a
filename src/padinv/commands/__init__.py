"""The commands that are not Lightning's: each a class whose fields are its options, light to import."""
