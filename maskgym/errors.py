"""The one exception a user of maskgym is meant to read."""


class BadInput(ValueError):
    """Something handed in from outside is wrong: one sentence that names the value and the fix.

    The command line prints the sentence and leaves with exit code 2; Python code sees an ordinary ``ValueError``.
    """
