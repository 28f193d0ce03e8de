"""From the resolved configuration to LoadGen's ``TestSettings``, by way of a written user.conf.

LoadGen's own embedded mlperf.conf is the base. What the configuration says differently is written
to ``user.conf`` in the run directory, in the official format, and loaded through ``FromConfig``;
then every value is read back, because LoadGen ignores keys that it does not know and numbers that
it cannot parse.

``FromConfig`` keeps a process-wide count and loads the embedded file only the first time, which is
why a process runs :func:`prepare` once.
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any, Final

import attrs

from mlpinf_core.errors import ConfigurationError, PrerequisiteError
from mlpinf_core.machine import available_memory
from mlpinf_core.rules import load_round, round_of_seeds
from mlpinf_core.rules.model import Seeds
from mlpinf_core.vocabulary import Mode, Scenario

if TYPE_CHECKING:
    from mlpinf_core.config.schema import LoadGenSettings
    from mlpinf_core.context import Run

DISTRIBUTION: Final = "mlcommons-loadgen"
_SEEDS: Final = ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed")
_TOLERANCE: Final = 1e-9
_BYTES_A_SAMPLE: Final = 200
"""What a sample of an Offline query costs: LoadGen's record of it, and our copy of its id.
Measured over 2,000,000 samples: 170 bytes."""


@attrs.frozen
class _Key:
    """How one of our settings is said in user.conf, and where LoadGen keeps it.

    Attributes:
        name: user.conf's.
        attribute: of TestSettings.
        factor: our unit to user.conf's.
        stored: user.conf's unit to the attribute's.
        whole: whether LoadGen parses integers only.
    """

    name: str
    attribute: str
    factor: float = 1.0
    stored: float = 1.0
    whole: bool = True


_MS_TO_NS: Final = 1_000_000


def _keys(scenario: Scenario) -> dict[str, _Key]:
    """Our settings' names to LoadGen's, for a scenario; what it does not use is left out."""
    every = {
        "min_duration": _Key("min_duration", "min_duration_ms", factor=1000),
        "max_duration": _Key("max_duration", "max_duration_ms", factor=1000),
        "min_query_count": _Key("min_query_count", "min_query_count"),
        "max_query_count": _Key("max_query_count", "max_query_count"),
        "performance_sample_count": _Key(
            "performance_sample_count_override", "performance_sample_count_override"
        ),
        "token_latencies": _Key("use_token_latencies", "use_token_latencies"),
        "equal_issue": _Key("sample_concatenate_permutation", "sample_concatenate_permutation"),
    }
    if scenario is Scenario.OFFLINE:
        own = {"target_qps": _Key("target_qps", "offline_expected_qps", whole=False)}
    elif scenario.is_poisson:
        own = {
            "target_qps": _Key("target_qps", "server_target_qps", whole=False),
            "target_latency_ms": _Key(
                "target_latency", "server_target_latency_ns", stored=_MS_TO_NS
            ),
            "target_latency_percentile": _Key(
                "target_latency_percentile",
                "server_target_latency_percentile",
                stored=0.01,
                whole=False,
            ),
            "ttft_ms": _Key("ttft_latency", "ttft_latency", stored=_MS_TO_NS),
            "tpot_ms": _Key("tpot_latency", "tpot_latency", stored=_MS_TO_NS),
            "coalesce_queries": _Key("coalesce_queries", "server_coalesce_queries"),
        }
    else:
        stream = "single" if scenario is Scenario.SINGLE_STREAM else "multi"
        own = {
            "target_latency_ms": _Key(
                "target_latency",
                f"{stream}_stream_expected_latency_ns",
                stored=_MS_TO_NS,
                whole=False,
            ),
            "target_latency_percentile": _Key(
                "target_latency_percentile",
                f"{stream}_stream_target_latency_percentile",
                stored=0.01,
                whole=False,
            ),
        }
        if scenario is Scenario.MULTI_STREAM:
            own["samples_per_query"] = _Key("samples_per_query", "multi_stream_samples_per_query")
    return every | own


@attrs.frozen
class Prepared:
    """LoadGen's settings, ready for a test.

    Attributes:
        test_settings: LoadGen's ``TestSettings``.
        model: the name it was configured under.
        loadgen_version: of the installed wheel.
        embedded_round: the round whose seeds the wheel embeds; None for one not known.
        seeds_enforced: whether the workload's round wants other seeds than the wheel embeds.
        user_conf: the text of the file.
    """

    test_settings: Any
    model: str
    loadgen_version: str
    embedded_round: str | None
    seeds_enforced: bool
    user_conf: str


def prepare(run: Run, sample_count: int) -> Prepared:
    """Write user.conf, load it, check it, enforce the round's seeds. Once a process.

    Args:
        run: with its directory, where ``user.conf`` is written.
        sample_count: samples in the data set; the performance sample count is at most that.

    Raises:
        ConfigurationError: LoadGen cannot be told a value.
        PrerequisiteError: LoadGen is not installed, or did not take the settings.
    """
    lg = _import()
    scenario = run.workload.scenario.loadgen_name
    model = run.rules.loadgen_model(run.workload.scenario)
    settings = lg.TestSettings()
    # Type 0 reads the embedded file alone and leaves LoadGen's count as it is.
    _load(settings, "", model, scenario, conf_type=0)
    wanted = _wanted(run.config.loadgen, run.workload.scenario, sample_count)
    lines = [
        f"{model}.{scenario}.{key.name} = {value}"
        for key, value in wanted
        if not _same(getattr(settings, key.attribute, None), float(value) * key.stored)
    ]
    text = "\n".join([f"# {run.workload}", *lines, ""])
    path = run.directory / "user.conf"
    path.write_text(text, encoding="utf-8")
    settings = lg.TestSettings()
    _load(settings, str(path), model, scenario, conf_type=1)
    for key, value in wanted:
        got = getattr(settings, key.attribute, None)  # 5.1.2 binds fewer than it knows
        if got is not None and not _same(got, float(value) * key.stored):
            raise PrerequisiteError(
                f"LoadGen took {key.attribute} = {got} where {value} was configured",
                where=str(path),
                remedy=f"install another version of {DISTRIBUTION}",
            )
    embedded = Seeds(*(getattr(settings, seed) for seed in _SEEDS))
    seeds = load_round(run.workload.round).seeds
    for name in _SEEDS:
        setattr(settings, name, getattr(seeds, name))
    settings.scenario = getattr(lg.TestScenario, scenario)
    accuracy = run.mode is Mode.ACCURACY
    settings.mode = lg.TestMode.AccuracyOnly if accuracy else lg.TestMode.PerformanceOnly
    return Prepared(
        test_settings=settings,
        model=model,
        loadgen_version=importlib.metadata.version(DISTRIBUTION),
        embedded_round=round_of_seeds(embedded),
        seeds_enforced=embedded != seeds,
        user_conf=text,
    )


def check_expressible(settings: LoadGenSettings, scenario: Scenario) -> None:
    """Refuse values that LoadGen cannot be told; needs no LoadGen.

    Raises:
        ConfigurationError: LoadGen takes whole numbers there.
    """
    _wanted(settings, scenario, sample_count=1)


def check_memory(run: Run, test_settings: Any) -> None:
    """Refuse an Offline test whose query does not fit into memory.

    LoadGen makes 1.1 × target_qps × min_duration samples at once, and a kernel that runs out of
    memory would kill the process without a word.

    Raises:
        ConfigurationError: it needs more than is available.
    """
    if run.workload.scenario is not Scenario.OFFLINE or run.mode is Mode.ACCURACY:
        return
    expected = 1.1 * test_settings.offline_expected_qps * test_settings.min_duration_ms / 1000
    count = max(expected, test_settings.min_query_count)
    available = available_memory()
    if available is not None and count * _BYTES_A_SAMPLE > available:
        raise ConfigurationError(
            f"Offline would issue {count:,.0f} samples at once, for which LoadGen needs about "
            f"{count * _BYTES_A_SAMPLE / 1e9:,.0f} GB, and {available / 1e9:,.0f} GB are available",
            where="loadgen.target_qps × loadgen.min_duration",
            remedy="set loadgen.min_duration or loadgen.target_qps lower",
        )


def embedded_round() -> str | None:
    """The round whose seeds the installed wheel embeds; None for one not known.

    Raises:
        PrerequisiteError: LoadGen is not installed.
    """
    settings = _import().TestSettings()
    _load(settings, "", "any", "Offline", conf_type=0)
    return round_of_seeds(Seeds(*(getattr(settings, seed) for seed in _SEEDS)))


def _import() -> Any:
    try:
        import mlperf_loadgen as lg
    except ImportError as error:
        raise PrerequisiteError(
            f"LoadGen cannot be imported: {error}", remedy=f"pip install {DISTRIBUTION}"
        ) from error
    return lg


def _load(settings: Any, path: str, model: str, scenario: str, *, conf_type: int) -> None:
    code = settings.FromConfig(path, model, scenario, conf_type)
    if code != 0:
        raise PrerequisiteError(
            f"LoadGen could not read its configuration (code {code})",
            where=path or "the embedded mlperf.conf",
            remedy=f"install another version of {DISTRIBUTION}",
        )


def _wanted(
    settings: LoadGenSettings, scenario: Scenario, sample_count: int
) -> list[tuple[_Key, str]]:
    """What the configuration asks for, as user.conf would say it."""
    found = []
    for ours, key in _keys(scenario).items():
        value = getattr(settings, ours)
        if ours == "performance_sample_count":
            value = min(value or sample_count, sample_count)
        if value is not None:
            found.append((key, _written(f"loadgen.{ours}", key, value)))
    return found


def _written(name: str, key: _Key, value: float) -> str:
    scaled = float(value) * key.factor
    if not key.whole:
        return repr(scaled)
    if abs(scaled - round(scaled)) > _TOLERANCE * max(1.0, abs(scaled)):
        raise ConfigurationError(
            f"{name} is {value}, and LoadGen takes whole "
            + ("milliseconds" if key.factor != 1 or key.stored != 1 else "numbers")
            + " only",
            where=name,
            remedy=f"set it to {round(scaled) / key.factor:g}",
        )
    return str(round(scaled))


def _same(got: Any, wanted: float) -> bool:
    return got is not None and abs(float(got) - wanted) <= _TOLERANCE * max(1.0, abs(wanted))
