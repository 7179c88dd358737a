"""Does the studio serve eight visitors at once for five minutes, and lose no request?

python benchmarks/studio.py [--seconds 300] [--clients 8] [--pause 1]

Starts `padinv app` in a process of its own. Each client is a window with a session of its own, and does what a person
does: gives a photograph, moves a slider of the tab Edit, asks for samples; between two requests it waits a second. A
request is lost if the server does not answer it, or answers with an error. Time is that from sending a request to its
last event, with whatever else the machine does. The table tells of each kind of request how many, how many were lost,
and the median, 95th percentile and longest time. The tests do the same for a few seconds (tests/app/test_page.py).

Before that one visitor moves a slider 100 times. Of that is told how long the preview takes by the clock, and how long
the server has the processor for it, with all that it does for the page: what the clock would show if the machine did
nothing else.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from measuring import _machine_time, table, write

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))  # the client is that of the tests

from padinv.sources.finding import find_photographs
from studio_client import Client, Request, visit
from studio_server import processor_seconds, studio_server


def serve(seconds: float, clients: int, pause: float) -> list[Request]:
    """Lets so many clients visit a studio at once."""
    source = find_photographs(["congress64-val"])
    portraits = [source.read(place) for place in range(clients)]
    with tempfile.TemporaryDirectory() as home, studio_server(Path(home)) as (address, process):
        end = time.monotonic() + seconds
        with ThreadPoolExecutor(clients) as pool:
            visits = [pool.submit(visit, Client(address), portrait, end, pause) for portrait in portraits]
            found = [request for each in visits for request in each.result()]
        assert process.poll() is None, "the server has died"
    return found


def preview(moves: int = 100) -> str:
    """What a preview takes one visitor, in a sentence."""
    source = find_photographs(["congress64-val"])
    with tempfile.TemporaryDirectory() as home, studio_server(Path(home)) as (address, process):
        client = Client(address)
        assert client.invert(client.upload("portrait.png", source.read(0)))["success"]
        client.change(1.0)
        before, times = processor_seconds(process), []
        for move in range(moves):
            start = time.monotonic()
            assert client.change(0.02 * move)["success"]
            times.append(time.monotonic() - start)
        own = (processor_seconds(process) - before) / moves
    return (
        f"One visitor, {moves} moves of a slider at 64 px: a preview takes {median(times):.3f} s by the clock (median; "
        f"the shortest {min(times):.3f} s), of which the server has the processor for {own:.3f} s."
    )


def row(kind: str, requests: list[Request]) -> dict[str, Any]:
    """A line of the table."""
    times = sorted(request.seconds for request in requests if not request.lost)
    cuts = quantiles(times, n=20)
    return {
        "request": kind,
        "how many": len(requests),
        "lost": sum(request.lost for request in requests),
        "median, s": f"{cuts[9]:.2f}",
        "95 %, s": f"{cuts[18]:.2f}",
        "longest, s": f"{times[-1]:.2f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pause", type=float, default=1)
    options = parser.parse_args()
    busy, total = _machine_time()
    alone = preview()
    requests = serve(options.seconds, options.clients, options.pause)
    busy_after, total_after = _machine_time()
    kinds = dict.fromkeys(request.kind for request in requests)
    rows = [row(kind, [request for request in requests if request.kind == kind]) for kind in kinds]
    rows.append(row("all", requests))
    command = f"python benchmarks/studio.py --seconds {options.seconds:g} --clients {options.clients}"
    share = (busy_after - busy) / (total_after - total)
    told = f"The machine was busy for {share:.0%} of the time, with this and else; load {os.getloadavg()[0]:.1f}."
    write("studio", f"{command} --pause {options.pause:g}", f"{alone}\n\n{table(rows)}\n\n{told}")


if __name__ == "__main__":
    main()
