"""The servers that `mlpinf serve` can start for a language benchmark, and how each is called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from mlpinf_core.errors import ConfigurationError, PrerequisiteError
from mlpinf_core.names import lookup
from mlpinf_core.servers import ServeOptions, ServerSpec
from mlpinf_llm import locate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mlpinf_core.context import Run

_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - what the user asked for


def specs(run: Run, options: ServeOptions) -> list[ServerSpec]:
    """The servers for a run: as many as were asked for, or as the devices allow.

    Raises:
        UnknownNameError: there is no such server.
        ConfigurationError: the checkpoint is not named, or there are too few devices.
    """
    make = lookup("server", options.server or "ctranslate2", _SERVERS)
    return make(run, options)


def _embedded(run: Run, options: ServeOptions) -> list[ServerSpec]:
    """The small server over the CTranslate2 engine, on a CPU."""
    from mlpinf_llm import ct2

    if locate.is_full(run):
        raise ConfigurationError(
            "the embedded server has the tiny variants' model only",
            remedy="name another with --server: trtllm-serve, vllm or sglang",
        )
    if options.checkpoint is not None:
        raise ConfigurationError(
            "the embedded server has a model of its own", remedy="leave --checkpoint out"
        )
    engine = str(ct2.build(run))
    found = []
    for number in range(options.count or 1):
        port = options.port + number
        command = (
            sys.executable, "-P", "-m", "mlpinf_llm.server", engine,
            "--host", options.host, "--port", str(port),
            "--served-model-name", run.benchmark.name,
            "--max-batch-size", str(run.config.sut.max_batch_size),
            *options.arguments,
        )  # fmt: skip
        found.append(ServerSpec(f"ctranslate2-{port}", command, _url(options, port)))
    return found


def _on_devices(
    name: str, dialect: str, command: Callable[[str, ServeOptions, int], tuple[str, ...]]
) -> Callable[[Run, ServeOptions], list[ServerSpec]]:
    """A server that takes GPUs."""

    def make(run: Run, options: ServeOptions) -> list[ServerSpec]:
        checkpoint = _checkpoint(run, name, options)
        devices = visible_devices()
        count = options.count or len(devices) // options.devices
        if count < 1 or count * options.devices > len(devices):
            raise ConfigurationError(
                f"{max(count, 1)} servers of {options.devices} devices each need more than the "
                f"{len(devices)} that this machine has",
                remedy="lower --count, --tp or --pp, or set CUDA_VISIBLE_DEVICES",
            )
        found = []
        for number in range(count):
            port = options.port + number
            own = devices[number * options.devices : (number + 1) * options.devices]
            found.append(
                ServerSpec(
                    f"{name}-{port}",
                    (*command(checkpoint, options, port), *options.arguments),
                    _url(options, port),
                    environment={"CUDA_VISIBLE_DEVICES": ",".join(own)},
                    settings={"server": dialect},
                )
            )
        return found

    return make


def _checkpoint(run: Run, name: str, options: ServeOptions) -> str:
    """The model that is asked for, or the benchmark's own where it is a full one."""
    if options.checkpoint is not None:
        return options.checkpoint
    if not locate.is_full(run):
        raise ConfigurationError(
            f"{name} needs to be told which model it serves",
            remedy="name its directory with --checkpoint",
        )
    return str(run.fetch(locate.official(run).checkpoint))


def _trtllm(checkpoint: str, options: ServeOptions, port: int) -> tuple[str, ...]:
    """As ``trtllm-serve --help`` has it."""
    return (
        "trtllm-serve", checkpoint, "--host", options.host, "--port", str(port),
        "--backend", "pytorch", "--tp_size", str(options.tensor_parallel),
        "--pp_size", str(options.pipeline_parallel), "--ep_size", str(options.expert_parallel),
    )  # fmt: skip


def _vllm(checkpoint: str, options: ServeOptions, port: int) -> tuple[str, ...]:
    """As ``vllm serve --help`` has it."""
    return (
        "vllm", "serve", checkpoint, "--host", options.host, "--port", str(port),
        "--tensor-parallel-size", str(options.tensor_parallel),
        "--pipeline-parallel-size", str(options.pipeline_parallel),
        *(["--enable-expert-parallel"] if options.expert_parallel > 1 else []),
    )  # fmt: skip


def _sglang(checkpoint: str, options: ServeOptions, port: int) -> tuple[str, ...]:
    """As ``python -m sglang.launch_server --help`` has it."""
    return (
        sys.executable, "-m", "sglang.launch_server", "--model-path", checkpoint,
        "--host", options.host, "--port", str(port), "--tp-size", str(options.tensor_parallel),
        "--pp-size", str(options.pipeline_parallel), "--ep-size", str(options.expert_parallel),
    )  # fmt: skip


_SERVERS: Final[Mapping[str, Callable[[Run, ServeOptions], list[ServerSpec]]]] = {
    "ctranslate2": _embedded,
    "trtllm-serve": _on_devices("trtllm-serve", "trtllm", _trtllm),
    "vllm": _on_devices("vllm", "vllm", _vllm),
    "sglang": _on_devices("sglang", "sglang", _sglang),
}


def visible_devices() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    Raises:
        PrerequisiteError: the driver's program does not answer.
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise PrerequisiteError(
            f"nvidia-smi does not say which GPUs there are: {error}",
            remedy="name them: export CUDA_VISIBLE_DEVICES=0,1",
        ) from error
    return done.stdout.split()


def _url(options: ServeOptions, port: int) -> str:
    """Where a server on this machine is reached."""
    host = "127.0.0.1" if options.host in _EVERYWHERE else options.host
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
