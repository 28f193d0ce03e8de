"""The best published results per H200-SXM: a system's result over its accelerators.

Closed division, datacenter. Round v5.1, and v5.0 for R-GAT, which v5.1 has none of on an H200.
"""

WHISPER_TOKENS = 4306.3
WHISPER_SAMPLES = 67.9
WHISPER_TOKENS_A_SAMPLE = WHISPER_TOKENS / WHISPER_SAMPLES
RGAT = 55_227.0
SDXL_OFFLINE = 2.399
LLAMA_8B = {"Offline": 8254.6, "Server": 8114.3}
LLAMA_70B = {"Offline": 4414.6, "Server": 4253.7}
