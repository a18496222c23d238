"""`python -m tests.adversary`, which `make adversary` runs: prints the worst stall of honest callers and the peak memory of the workers.

Fails on a wrong answer, a hang, a crash, an end that does not come, or memory beyond the stated budget; never on time alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.adversary.attacks import HELD, QUICK, Attack, Target
from tests.adversary.bodies import HOSTILE_BODIES, content_of
from tests.adversary.gateway import LiveGateway, serving
from tests.adversary.probe import PROBES, Noted, Probe
from tests.faults.processes import CHECKOUT

WORKER_MEGABYTES = 1024
"""The budget of a worker: docs/limits.md says what it is made of."""

STOP_SECONDS = 60.0


def main() -> int:
    """Run the attacks; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.adversary", description="Hostile requests against a live gateway.")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="Whose code serves; for figures from before a change.")
    parser.add_argument("--only", action="append", choices=[*HELD, *QUICK], help="Only these attacks.")
    given = parser.parse_args()
    chosen = given.only or [*HELD, *QUICK]
    if "hostile bodies" in chosen:
        for body in HOSTILE_BODIES:
            content_of(body)
    with serving(given.checkout) as gateway:
        if gateway.workers == 1:
            print("redis-server is not installed: one worker")
        wrong = _attack(gateway, chosen)
        wrong += _stop(gateway)
    for one in wrong[:40]:
        print(f"wrong: {one}", file=sys.stderr)
    print("nothing was wrong" if not wrong else f"{len(wrong)} wrong")
    return 1 if wrong else 0


def _attack(gateway: LiveGateway, chosen: list[str]) -> list[str]:
    target = Target(gateway.port, gateway.keys)
    workers = set(gateway.memory())
    before = max(gateway.memory().values())
    probes = [Probe(name, gateway.port, gateway.keys["ingest"]) for name in PROBES]
    time.sleep(2)
    times: dict[str, tuple[float, float]] = {"(no attack)": (0.0, time.monotonic())}
    wrong: list[str] = []

    def run(name: str, attack: Attack) -> list[str]:
        began = time.monotonic()
        try:
            return attack(target)
        except Exception as error:
            return [f"{name}: {error!r}"]
        finally:
            times[name] = (began, time.monotonic())

    with ThreadPoolExecutor(len(HELD)) as pool:
        held = [pool.submit(run, name, HELD[name]) for name in chosen if name in HELD]
        for name in chosen:
            if name in QUICK:
                wrong += run(name, QUICK[name])
        for one in held:
            wrong += one.result()
    noted = [probe.stop() for probe in probes]
    memory = gateway.memory()
    _print_stalls(times, dict(zip(PROBES, noted, strict=True)))
    print(f"peak memory of a worker: {max(memory.values())} MB (before: {before} MB; budget: {WORKER_MEGABYTES} MB)")
    if set(memory) != workers:
        wrong.append(f"the workers were {sorted(workers)} and are {sorted(memory)}: {gateway.process.said()}")
    if max(memory.values()) > WORKER_MEGABYTES:
        wrong.append(f"a worker took {max(memory.values())} MB")
    return wrong + [one for each in noted for one in each.wrong]


def _print_stalls(times: dict[str, tuple[float, float]], noted: dict[str, Noted]) -> None:
    print(f"{'worst answer while':<28}{'seconds':>9}" + "".join(f"{name:>24}" for name in noted))
    for name, (began, ended) in times.items():
        cells = "".join(f"{each.worst(began, ended) * 1000:>21,.0f} ms" for each in noted.values())
        print(f"{name:<28}{(ended - began if began else 2):>9.1f}{cells}")
    for name, each in noted.items():
        print(f"{name}: {len(each.seconds)} answers, {each.busy} of them 429")


def _stop(gateway: LiveGateway) -> list[str]:
    """Stop the gateway."""
    began = time.monotonic()
    code = gateway.process.terminate(STOP_SECONDS)
    print(f"stopped in {time.monotonic() - began:.1f} s")
    return [] if code == 0 else [f"it ended with {code}: {gateway.process.said()}"]


if __name__ == "__main__":
    sys.exit(main())
