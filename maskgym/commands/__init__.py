"""One file per family of commands of the command line."""
