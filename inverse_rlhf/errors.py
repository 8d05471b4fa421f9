"""The one exception that a user can cause."""


class UserError(Exception):
    """Bad input: one line that says what is wrong, where, and what to do."""
