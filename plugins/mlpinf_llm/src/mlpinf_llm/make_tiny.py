"""Make the data files, references and limits of the tiny variants again.

    python -m mlpinf_llm.make_tiny --gguf SmolLM2-135M-Instruct.Q4_1.gguf [--check]

The references are what the model says in float32; the limits come from what it says in int8, on
every CPU path that this machine can run. Needs pandas (`pip install mlpinf-llm[make-tiny]`), so
that the files are written by what wrote the full ones.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlpinf_llm import matching, scoring, tables, tiny
from mlpinf_llm.gguf_engine import convert
from mlpinf_llm.tokenizer import ChatTokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Items on which the two best tokens of the float32 model come closer than this (in logits) at any
#: step are refused: on them no two machines need agree, whatever the harness does.
MIN_GAP = 0.1
#: Instruction sets of CTranslate2 and batch sizes that int8 is scored with. Rounding differs
#: between all of these.
INSTRUCTION_SETS = ("AVX512", "AVX2", "GENERIC")
BATCH_SIZES = (2, 16)
#: A limit lies below the worst int8 score by half of what int8 has lost already, and by at least
#: what this many samples are worth. It allows for the rounding of CPUs that were not measured; a
#: harness that mixes up, cuts or garbles answers does so on more samples than that.
ALLOWED_SAMPLES = 2
#: Lengths must be within this share of the reference, as in MLPerf's own rules.
LENGTH_BAND = 0.1
LENGTHS = ("TOKENS_PER_SAMPLE", "GEN_LEN")

Outputs = list[list[int]]


def generate(
    engine: Path, prompts: Sequence[Sequence[int]], cap: int, batch: int, kind: str
) -> tuple[Outputs, list[float]]:
    """Greedy outputs, and the smallest gap in logits of each sample (empty unless float32)."""
    import ctranslate2

    tokens = ChatTokenizer.load(engine)
    generator = ctranslate2.Generator(str(engine), compute_type=kind)
    results = generator.generate_batch(
        [tokens.tokens(prompt) for prompt in prompts],
        max_length=cap,
        max_batch_size=batch,
        include_prompt_in_result=False,
        sampling_topk=1,
        return_logits_vocab=kind == "float32",
    )
    gaps = []
    if kind == "float32":
        for result in results:
            best = [np.sort(np.array(step).ravel())[-2:] for step in result.logits[0]]
            gaps.append(min(float(second_first[1] - second_first[0]) for second_first in best))
    return [list(result.sequences_ids[0]) for result in results], gaps


def _on_path(
    instructions: str, jobs: list[tuple[Path, list[list[int]], int, int]]
) -> list[Outputs] | None:
    """Run in a fresh process, since CTranslate2 chooses its CPU path once.

    None where this CPU or this build of CTranslate2 lacks the path.
    """
    os.environ["CT2_FORCE_CPU_ISA"] = instructions
    try:
        return [generate(*job, "int8")[0] for job in jobs]
    except (RuntimeError, ValueError):
        return None


def rows(
    benchmark: tiny.TinyBenchmark, tokens: ChatTokenizer, outputs: Outputs
) -> dict[str, list[Any]]:
    """The data file's columns."""
    samples = benchmark.samples()
    prompts = [tokens.encode_chat(sample.prompt, sample.start) for sample in samples]
    texts = [tokens.decode(output).strip() for output in outputs]
    columns: dict[str, list[Any]] = {
        "input": [sample.prompt for sample in samples],
        "output_start": [sample.start for sample in samples],
        "tok_input": prompts,
    }
    if benchmark.lengths:
        columns[benchmark.lengths] = [len(prompt) for prompt in prompts]
        columns["tok_output"] = outputs
        columns["tok_output_len"] = [len(output) for output in outputs]
    judged = any(sample.grade != "rouge" for sample in samples)
    if judged:
        columns["ref_output"] = texts
        columns["metric"] = [sample.grade for sample in samples]
    columns[benchmark.reference] = [
        sample.answer or text for sample, text in zip(samples, texts, strict=True)
    ]
    return columns


def write(path: Path, columns: dict[str, list[Any]]) -> None:
    """Write a data file, as JSON or as a pickled DataFrame."""
    if path.suffix == ".json":
        count = len(columns["tok_input"])
        objects = [{name: column[row] for name, column in columns.items()} for row in range(count)]
        lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in objects)
        path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
        return
    import pandas as pd

    # Columns of objects, so that the file is the same for every pandas that reads it: pandas 3
    # would otherwise store text as its own string type.
    frame = pd.DataFrame(
        {
            name: pd.Series(column, dtype="int64" if isinstance(column[0], int) else object)
            for name, column in columns.items()
        }
    )
    frame.columns = pd.Index(list(columns), dtype=object)
    frame.to_pickle(path, protocol=4)


def score(
    benchmark: tiny.TinyBenchmark, tokens: ChatTokenizer, table: tables.Table, outputs: Outputs
) -> dict[str, float]:
    """The benchmark's metrics for `outputs`, against the data file."""
    kinds = table.texts("metric") if "metric" in table.columns else ["rouge"] * len(table)
    texts = [tokens.decode(output) for output in outputs]
    references = table.texts(benchmark.reference)
    return scoring.benchmark_scores(benchmark.name, outputs, texts, references, kinds)


def limits(
    name: str, reference: float, measured: Sequence[float], judged: int
) -> dict[str, float | None]:
    """Lower and upper limit of one metric that judges `judged` samples.

    The rules are at the top of this module. Raises SystemExit when int8 leaves a length's band.
    """
    low, high = min(measured), max(measured)
    if name in LENGTHS:
        lower, upper = reference * (1 - LENGTH_BAND), reference * (1 + LENGTH_BAND)
        if not lower < low <= high < upper:
            raise SystemExit(f"int8 lengths {low} to {high} leave the band {lower} to {upper}")
        return {"lower": round(lower, 4), "upper": round(upper, 4)}
    margin = max(100 * ALLOWED_SAMPLES / judged, (reference - low) / 2)
    # Never up: so many wrong samples and no more would then miss the limit that admits them.
    return {"lower": math.floor((low - margin) * 1e4) / 1e4, "upper": None}


def problems(benchmark: tiny.TinyBenchmark, texts: list[str], outputs: Outputs,
             gaps: list[float]) -> list[str]:  # fmt: skip
    """Why samples are unfit: near ties, too few tokens, or an exact match that float32 misses."""
    found = []
    for index, sample in enumerate(benchmark.samples()):
        reasons = []
        if gaps[index] < MIN_GAP:
            reasons.append(f"gap {gaps[index]:.3f}")
        if len(outputs[index]) < 2:
            reasons.append("fewer than 2 tokens")
        if sample.grade != "rouge" and not matching.match(
            texts[index], sample.answer, sample.grade
        ):
            reasons.append(f"float32 misses {sample.answer!r}")
        if reasons:
            found.append(
                f"{benchmark.name} {index} ({sample.start!r} -> {texts[index]!r}): "
                + ", ".join(reasons)
            )
    return found


def make(gguf: Path, out: Path) -> list[str]:
    """Write all files into `out`; returns what is unfit, a line each."""
    with tempfile.TemporaryDirectory() as work:
        exact, small = Path(work) / "float32", Path(work) / "int8"
        convert(gguf, exact, "float32")
        convert(gguf, small, "int8")
        tokens = ChatTokenizer.load(exact)
        unfit: list[str] = []
        loaded: dict[str, tuple[tables.Table, Outputs]] = {}
        for name, benchmark in tiny.BENCHMARKS.items():
            prompts = [tokens.encode_chat(s.prompt, s.start) for s in benchmark.samples()]
            outputs, gaps = generate(exact, prompts, benchmark.cap, 1, "float32")
            texts = [tokens.decode(output) for output in outputs]
            unfit += problems(benchmark, texts, outputs, gaps)
            write(out / benchmark.file, rows(benchmark, tokens, outputs))
            loaded[name] = tables.read_table(out / benchmark.file), outputs
        found = measure(small, tokens, loaded)
    (out / "targets.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return unfit


def measure(
    engine: Path, tokens: ChatTokenizer, loaded: dict[str, tuple[tables.Table, Outputs]]
) -> dict[str, Any]:
    """The int8 engine's scores on every CPU path and batch size, and the limits from them."""
    jobs = [
        (engine, [ids.tolist() for ids in table.token_ids("tok_input")],
         tiny.BENCHMARKS[name].cap, batch)
        for name, (table, _) in loaded.items() for batch in BATCH_SIZES
    ]  # fmt: skip
    answers: dict[str, list[Outputs]] = {name: [] for name in loaded}
    paths = []
    for instructions in INSTRUCTION_SETS:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            results = process.submit(_on_path, instructions, jobs).result()
        if results is None:
            continue
        paths.append(instructions)
        for index, name in enumerate(name for name in loaded for _ in BATCH_SIZES):
            answers[name].append(results[index])
    found: dict[str, Any] = {}
    for name, (table, exact) in loaded.items():
        benchmark = tiny.BENCHMARKS[name]
        reference = score(benchmark, tokens, table, exact)
        scores = [score(benchmark, tokens, table, each) for each in answers[name]]
        overlap = sum(sample.grade == "rouge" for sample in benchmark.samples())
        found[name] = {
            "samples": len(table),
            "max_output_tokens": benchmark.cap,
            "paths": paths,
            "metrics": {
                metric: {
                    "reference": round(value, 4),
                    "measured": [
                        round(min(each[metric] for each in scores), 4),
                        round(max(each[metric] for each in scores), 4),
                    ],
                    **limits(
                        metric,
                        value,
                        [each[metric] for each in scores],
                        len(table) - overlap if metric == "exact_match" else overlap,
                    ),
                }
                for metric, value in reference.items()
            },
        }
    return found


def differences(made: Path, kept: Path) -> list[str]:
    """Which files of `made` the directory `kept` doesn't have alike."""
    found = []
    for file in sorted(path.name for path in made.iterdir()):
        old, new = kept / file, made / file
        if not old.exists():
            found.append(f"{file}: missing")
        elif old.read_bytes() != new.read_bytes():
            # Another version of pandas writes the same table in other bytes.
            alike = file != "targets.json" and _same(tables.read_table(old), tables.read_table(new))
            if not alike:
                found.append(f"{file}: differs")
    return found


def _same(a: tables.Table, b: tables.Table) -> bool:
    return list(a.columns) == list(b.columns) and all(
        [np.asarray(x).tolist() for x in a.columns[name]]
        == [np.asarray(y).tolist() for y in b.columns[name]]
        for name in a.columns
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--gguf", type=Path, required=True, help="the tiny model's GGUF file")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; say whether the files are reproduced"
    )
    options = parser.parse_args(arguments)
    kept = tiny.data_path("targets.json").parent
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) if options.check else kept
        unfit = make(options.gguf, out)
        changed = differences(out, kept) if options.check else []
    for line in unfit + changed:
        sys.stdout.write(f"{line}\n")
    if options.check and not changed:
        sys.stdout.write("every file is reproduced\n")
    return 1 if unfit or changed else 0


if __name__ == "__main__":
    sys.exit(main())
