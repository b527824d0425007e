"""The one exception for a user's mistakes."""


class UserError(ValueError):
    """A mistake that the user can correct, or a limit of the machine.

    The message is one line that names the thing, its value and the way out. The command line prints it without a
    traceback and exits with 2 (`environment=False`) or 3 (`environment=True`: disk full, no such device).
    """

    def __init__(self, message: str, *, environment: bool = False) -> None:
        super().__init__(message)
        self.environment = environment
