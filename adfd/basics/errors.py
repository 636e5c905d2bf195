"""The exceptions that mean: the user can mend this, and the message says how."""


class AdfdError(Exception):
    """A mistake in the input, the configuration or the installation.

    The message is one line that names the file or key, the offending value and the remedy. Stages print it without a
    traceback; every other exception is a defect of the program and keeps its traceback.
    """


class OccupiedError(AdfdError):
    """A folder is other work's: nothing may be written there, not even this failure."""
