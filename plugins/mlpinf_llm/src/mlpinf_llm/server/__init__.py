"""A small OpenAI-compatible server over a CTranslate2 engine, for tests and demonstrations."""
