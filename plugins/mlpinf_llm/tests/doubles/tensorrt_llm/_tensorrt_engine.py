import pathlib
from typing import ClassVar

from tensorrt_llm.llmapi import _COMMON, _TENSORRT, BuildConfig, _Base


class LLM(_Base):
    FIELDS: ClassVar = {**_COMMON, **_TENSORRT}

    def __init__(self, **given):
        super().__init__(**given)
        assert isinstance(given.get("build_config", BuildConfig()), BuildConfig)

    def save(self, engine_dir):
        folder = pathlib.Path(engine_dir)
        (folder / "rank0.engine").write_bytes(b"engine")
        (folder / "config.json").write_text("{}")
