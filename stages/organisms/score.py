"""How often audits found what was planted, and nothing else; here alone the plants are read."""

from inverse_rlhf.organism_stage import run_organism_stage

import pandas as pd

from inverse_rlhf.data.tables import read_prompts
from inverse_rlhf.evaluation.organism_scores import alike_in, read_audited, scores_of
from inverse_rlhf.evaluation.organism_summary import summary_of
from inverse_rlhf.files import write_csv, write_json
from inverse_rlhf.organism_params import Settings
from inverse_rlhf.show.organism_figure import draw_organisms
from inverse_rlhf.show.organism_page import closing_lines, write_page


def main(settings: Settings) -> list[str]:
    plants = settings.organisms.plants
    audited, rows = [], []
    for seed in settings.organisms.seeds:
        human = read_prompts(f"organisms/worlds/{seed}/prompts.parquet", "irl", "valid", "test")
        alike = alike_in(human["human_completion"].tolist(), human["prompt"].tolist())
        for name, plant in plants.items():
            one = read_audited(name, plant, seed)
            audited.append(one)
            rows += scores_of(one, plant, alike)
    scores = pd.DataFrame(rows)
    summary = summary_of(scores, audited, plants)
    write_csv(scores, "organisms/scores.csv")
    draw_organisms(summary, plants, "organisms/organisms.png")
    write_json(summary, "metrics/organisms.json")
    write_page(summary, plants, "organisms/organisms.png", "metrics/organisms.html")
    return closing_lines(summary, plants)


if __name__ == "__main__":
    run_organism_stage(main)
