"""The ``openai`` backend: any server that speaks the OpenAI completions API, over HTTP/1.1."""
