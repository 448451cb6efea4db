"""The cost table that budgets read, against the clock: predicted and actual ms of every depth.

    python benchmarks/cost_model.py [--bundle nano small] [-o RESULT.json]

A fresh table is measured, then every depth is run afresh in the three ways it can be reached. The
second pair of errors allows one load factor for all, as the controller learns it while it runs.
"""

import json
from dataclasses import asdict, replace

import numpy as np
from common import new_result, parser, write_result

from edge_fiqa import Bundle
from edge_fiqa.bench.cost_check import WAYS, check_costs, errors
from edge_fiqa.bench.timing import Effort
from edge_fiqa.engines import open_engine
from edge_fiqa.measurement.all_exits import synthetic_faces
from edge_fiqa.measurement.segment_costs import cost_table
from edge_fiqa.scoring.controller import Controller


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--bundle", nargs="+", default=["nano", "small"])
    arguments.add_argument("--backend", default="ov")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=20)
    options = arguments.parse_args()
    result = new_result(__doc__) | {
        "errors": "relative, of predicted ms per depth, one face: median and 90th percentile",
        "bundles": {},
    }
    for name in options.bundle:
        with open_engine(Bundle.open(name), options.backend, options.threads) as engine:
            table = cost_table(engine, 30)
        with open_engine(Bundle.open(name), options.backend, options.threads) as engine:
            controller = Controller(engine, table)
            predictions = check_costs(controller, synthetic_faces(1), Effort(options.rounds, 20.0))
        load = float(np.median([p.actual_ms / p.predicted_ms for p in predictions]))
        loaded = [replace(p, predicted_ms=p.predicted_ms * load) for p in predictions]
        report = {"all": (errors(predictions), errors(loaded))}
        for way in WAYS:
            of = [[p for p in rows if p.way == way] for rows in (predictions, loaded)]
            report[way] = (errors(of[0]), errors(of[1]))
        for way, (raw, with_load) in report.items():
            print(
                f"{name:<6} {way:<7} error: median {raw[0]:.1%}, p90 {raw[1]:.1%}; "
                f"with the load factor {with_load[0]:.1%}, {with_load[1]:.1%}"
            )
        result["bundles"][name] = {
            "load": round(load, 4),
            "errors": {
                way: {"raw": np.round(raw, 4).tolist(), "with_load": np.round(w, 4).tolist()}
                for way, (raw, w) in report.items()
            },
            "predictions": [asdict(p) for p in predictions],
        }
    write_result(result, options.output)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
