"""How the recipe of preset cpu was chosen: BoT and PCB in world 0, on its validation identities.

``python tools/calibrate.py --steps 200 300 --rate 1e-3 2e-3 [--start NAME ...] [--row bot pcb] [--jobs 2]``
``python tools/calibrate.py --paper aap --row baseline aap --steps 450 900 1800 --rate 2e-3``
World 0 is nobody's replicate: no record of a study comes from it. Results are cached (results/cache/runs/live).
"""

import argparse
import itertools
from dataclasses import replace

import pandas as pd
from joblib import Parallel, delayed

from companion import runner
from companion.fingerprint import one_thread
from companion.papers import PAPERS, paper
from companion.run import LIVE, RunConfig
from reidlib.options import at_least

WORLD = 0


def variants(options: argparse.Namespace) -> dict[tuple, RunConfig]:
    """Every combination asked for, by row, steps, rate and start."""
    found = {}
    for row, steps, rate, start in itertools.product(options.row, options.steps, options.rate, options.start):
        run = paper(options.paper).run(row, preset_name="cpu").world(WORLD)
        config = run.model_config if start == "its own" else replace(run.model_config, weights=start)
        train = replace(run.train, iterations=steps, lr=rate)
        found[row, steps, rate, start] = replace(
            run, model_config=config, train=train, data=run.data.validation()
        )
    return found


def scores(key: tuple, run: RunConfig) -> dict:
    with one_thread():
        record = runner.train(replace(run, paper=LIVE))
    found = {  # percent
        f"{name.removeprefix('synth-').removesuffix('-val')} {metric}": round(
            100 * values["default"][metric], 1
        )
        for name, values in record.metrics.items()
        for metric in ("rank1", "mAP")
    }
    losses = {name: values[-1] for name, values in record.history.items() if name.startswith("id")}
    names = ("row", "steps", "rate", "start")
    fell = {"fell by, %": round(100 * record.learned), "s": record.provenance["seconds"]}
    return dict(zip(names, key)) | found | losses | fell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paper", default="bpbreid", choices=PAPERS)
    parser.add_argument("--row", nargs="+", default=["bot", "pcb"])
    parser.add_argument("--steps", nargs="+", type=int, default=[300])
    parser.add_argument("--rate", nargs="+", type=float, default=[2e-3])
    parser.add_argument("--start", nargs="+", default=["its own"], help="names of pretrained networks")
    parser.add_argument("--jobs", type=at_least(1), default=2)
    options = parser.parse_args()
    calls = [delayed(scores)(key, run) for key, run in variants(options).items()]
    frame = pd.DataFrame(Parallel(n_jobs=options.jobs)(calls))
    print(frame.to_string(index=False))


if __name__ == "__main__":
    main()
