class EngineGenerateError(Exception):
    pass


class EngineDeadError(Exception):
    def __init__(self):
        super().__init__("EngineCore encountered an issue. See stack trace for the root cause.")
