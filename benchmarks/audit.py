"""How right audits of files of pairs are, and how long one takes.

    python -m benchmarks.audit FILE... [--splits 10] [--placebos 25]

For each file: seconds of one audit; over random splits by prompt the median share of test pairs
that the objectives and n-grams tell apart, and what is found in how many of the splits. Then, over
files and seeds, how often anything is found where the sides of each pair are swapped at random.
"""

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np

from inverse_rlhf.audit import audit
from inverse_rlhf.audit_params import load_audit_params, settings_of
from inverse_rlhf.data.given_pairs import read_given_pairs, share_out
from inverse_rlhf.evaluation.objectives import measure
from inverse_rlhf.evaluation.pair_features import SIDES, objective_values


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--placebos", type=int, default=25)
    options = parser.parse_args()
    params = load_audit_params()
    placebos: list[bool] = []
    for file in options.files:
        given = read_given_pairs([Path(file)]).table
        started = time.perf_counter()
        first = audit(given, settings_of(params, {}, "benchmark"))
        print(f"\n{Path(file).stem}: {time.perf_counter() - started:.1f} s")
        print("  " + first.report["verdict"])
        values = objective_values(given)
        told: dict[str, list[float]] = {"objectives": [], "ngram": [], "length": []}
        found: Counter[str] = Counter()
        first_by_weight: Counter[str] = Counter()
        for seed in range(options.splits):
            settings = settings_of(params, {"seed": seed}, "benchmark")
            shared = share_out(given, settings.audit.splits.model_dump(), seed=seed)
            report = measure(shared, values, settings).report
            for name, row in (report["discrimination"] | report["controls"]).items():
                if name in told:
                    told[name].append(row["value"])
            names = [row["name"] for row in report["objectives"] if row["found"]]
            found.update(names)
            first_by_weight.update(names[:1])
        for name, shares in told.items():
            print(
                f"  {name}: median {np.median(shares):.3f} ({min(shares):.3f} to "
                f"{max(shares):.3f}) over {options.splits} splits"
            )
        print("  found in splits:", dict(found.most_common()), "first:", dict(first_by_weight))
        for seed in range(options.placebos):
            settings = settings_of(params, {"seed": seed, "slice_pairs": 10**6}, "benchmark")
            shared = share_out(given, settings.audit.splits.model_dump(), seed=seed)
            swap = np.random.default_rng([seed, 77]).random(len(shared)) < 0.5
            columns = [f"{side}_completion" for side in SIDES]
            shared.loc[swap, columns] = shared.loc[swap, columns[::-1]].to_numpy()
            swapped = {
                side: np.where(swap[:, None], values[other], values[side])
                for side, other in zip(SIDES, SIDES[::-1], strict=True)
            }
            report = measure(shared, swapped, settings).report
            placebos.append(any(row["found"] for row in report["objectives"]))
    if placebos:
        print(f"\nplacebos in which anything is found: {sum(placebos)} of {len(placebos)}")


if __name__ == "__main__":
    main()
