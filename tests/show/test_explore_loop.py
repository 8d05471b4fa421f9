"""The explorer of a pipeline's run, of tiny models; driven in Chromium where there is one."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from inverse_rlhf.errors import UserError
from inverse_rlhf.explore.answers import SamplesAsked, TextsAsked
from inverse_rlhf.explore.closed_loop import ClosedLoop
from inverse_rlhf.explore.made import check_made
from inverse_rlhf.irl.tables import IRL_RUNS, IRL_SCORES
from inverse_rlhf.models.checkpoints import load
from inverse_rlhf.params import Params
from inverse_rlhf.parquet import read_table
from inverse_rlhf.policies.sampling import sample_completions
from inverse_rlhf.rewards.classifier import ClassifierReward
from inverse_rlhf.rewards.recovered import load_irl_reward
from inverse_rlhf.show.page import number
from tests.browser import NARROW, WIDE, Browser, Visit, browsing
from tests.explored import OWN, RUNS, answered, make_project, served, write_lock

MINUS = "\N{MINUS SIGN}"
SHORT = {"min_new_tokens": 2, "max_new_tokens": 8}
PROMPT = "About the map number 0"


@pytest.fixture(scope="module")
def short(params: Params) -> Params:
    return params.model_copy(
        update={
            "pairs": params.pairs.model_copy(update=SHORT),
            "evaluate": params.evaluate.model_copy(update={"threshold": "otsu"}),
        }
    )


@pytest.fixture(scope="module")
def made(
    policy_folder: Path,
    classifier_folder: Path,
    short: Params,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, np.ndarray]:
    """A project and the heads of its runs."""
    folder = tmp_path_factory.mktemp("project")
    return folder, make_project(folder, policy_folder, classifier_folder, short)


@pytest.fixture(scope="module")
def project(made: tuple[Path, np.ndarray]) -> Path:
    return made[0]


@pytest.fixture(scope="module")
def loop(project: Path, short: Params) -> ClosedLoop:
    return ClosedLoop(short, project)


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(project, tmp_path / "copy"))


def score(loop: ClosedLoop, *completions: str, prompt: str = PROMPT) -> dict[str, Any]:
    asked = TextsAsked(prompt=prompt, completions=list(completions))
    asked.check()
    return loop.score(asked)


def read(shown: str) -> list[float]:
    return [float(value) for value in re.findall(r"[-\d.]+", shown.replace(MINUS, "-"))]


def test_scores_are_those_of_the_two_rewards(loop: ClosedLoop, project: Path, short: Params):
    texts = [" is a good one", " you fool"]
    found = score(loop, *texts)
    whole = [PROMPT + text for text in texts]
    recovered = load_irl_reward(project / "models/irl_reward", short.compute).score(whole)
    classifier = load("classifier", project / "models/true_reward", short.compute)
    true = ClassifierReward(classifier, short.true_reward).score(whole)
    for row, one, other in zip(found["rows"], recovered, true, strict=True):
        assert read(row["R̂"]) == pytest.approx([one], abs=1e-4)
        assert read(row["R*"]) == pytest.approx([other], abs=1e-4)
        assert row["By R*"] == ("toxic" if other < 0 else "not toxic")
    credit = next(piece[1] for piece in found["texts"][1]["pieces"] if piece[0] == "fool")
    without = load_irl_reward(project / "models/irl_reward", short.compute).score([PROMPT + " you"])
    assert credit == pytest.approx(recovered[1] - without[0], abs=1e-4)


def test_the_spread_over_runs_is_that_of_their_heads(
    loop: ClosedLoop, made: tuple[Path, np.ndarray], short: Params
):
    project, heads = made
    text = " !! a text of another kind 日本 42"
    shown = score(loop, text)["rows"][0]
    reward = load_irl_reward(project / "models/irl_reward", short.compute)
    runs = read_table(project / "data/irl_runs.parquet", IRL_RUNS)
    of_runs = []
    for head, mean, std in zip(heads, runs["mean"], runs["std"], strict=True):
        reward.body.module.score.weight.data[:] = torch.from_numpy(head)
        of_runs.append((reward.score([PROMPT + text])[0] - mean) / std)
    expected = [np.mean(of_runs), np.std(of_runs), min(of_runs), max(of_runs)]
    assert read(shown["Over runs"].replace("+", "")) == pytest.approx(expected, abs=0.006)
    assert read(shown["Standardised"]) == pytest.approx([of_runs[OWN]], abs=0.006)
    assert shown["Called"].endswith(f"of {RUNS} runs)")


def test_runs_that_trained_more_than_a_head_are_not_guessed(copy: Path, short: Params):
    card = copy / "models/irl_reward/reward.json"
    card.write_text(card.read_text().replace('"trainable": "head"', '"trainable": "all"'))
    write_lock(copy, short)
    found = score(ClosedLoop(short, copy), " good")
    assert found["rows"][0]["Over runs"] == number(None)
    assert "(" not in found["rows"][0]["Called"]
    assert "transformer of its own" in found["notes"][0][0]


def test_a_reward_of_other_runs_is_refused(copy: Path, short: Params):
    path = copy / "data/irl_scores.parquet"
    table = read_table(path, IRL_SCORES)
    other = table["irl_reward"].where(table["run"] != OWN, -table["irl_reward"])
    table.assign(irl_reward=other).to_parquet(path)
    write_lock(copy, short)
    with pytest.raises(UserError, match="not of the runs"):
        score(ClosedLoop(short, copy), " good")


def test_scores_that_no_head_gives_are_not_taken_for_one(copy: Path, short: Params):
    path = copy / "data/irl_scores.parquet"
    table = read_table(path, IRL_SCORES)
    table.assign(irl_reward=table["irl_reward"] ** 2).to_parquet(path)
    write_lock(copy, short)
    assert "do not tell" in score(ClosedLoop(short, copy), " good")["notes"][0][0]


def test_policies_are_sampled_as_the_pipeline_samples_them(
    loop: ClosedLoop, project: Path, short: Params
):
    found = loop.sample(SamplesAsked(prompt=PROMPT + " ", seed=short.seed))
    assert (found["prompt"], found["known"]) == (PROMPT, True)
    assert [policy["name"] for policy in found["policies"]] == ["base", "aligned", "rerl"]
    rows = pd.DataFrame({"prompt_id": [10], "prompt": [PROMPT]})
    for name, shown in zip(("base", "rlhf", "rerl"), found["policies"], strict=True):
        policy = load("policy", project / "models" / name, short.compute)
        own = sample_completions(rows, policy, short.pairs, seed=short.seed, name=shown["name"])
        assert [c["text"] for c in shown["completions"]] == own["completion"].tolist()
    again = loop.sample(SamplesAsked(prompt=PROMPT, seed=short.seed + 1))
    assert not again["known"]
    assert again["policies"] != found["policies"]
    assert not loop.sample(SamplesAsked(prompt="Of no file", seed=short.seed))["known"]


def test_a_prompt_beyond_the_context_is_said(loop: ClosedLoop):
    with pytest.raises(UserError, match="shorten it"):
        loop.sample(SamplesAsked(prompt="word " * 500, seed=0))


@pytest.mark.parametrize("text", ["you fool " * 11_112, "a" * 100_000])
def test_a_text_of_100_000_characters_is_scored_and_what_is_cut_is_said(
    loop: ClosedLoop, text: str
):
    found = score(loop, text, prompt="")
    notes = " ".join(found["notes"][0])
    assert "R̂ reads the first 128 of its" in notes
    assert "R* reads the first" in notes
    assert read(found["rows"][0]["R̂"]) == read(score(loop, text[:5000], prompt="")["rows"][0]["R̂"])


STAGES = ("generate_pairs", "maxmargin_irl", "evaluate")
OUTS = ("data/pairs.parquet", "models/irl_reward")


def test_outputs_of_the_params_are_taken(project: Path):
    check_made(project, STAGES, OUTS)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda at: (at / "dvc.lock").unlink(), "dvc.lock does not exist: run `make repro` first"),
        (lambda at: shutil.rmtree(at / "models/irl_reward"), "irl_reward does not exist: run"),
        (lambda at: (at / "data/pairs.parquet").write_bytes(b"x"), "pairs.parquet is not what"),
        (lambda at: swap(at / "models/irl_reward/reward.json", "0.7", "0.8"), "irl_reward is not"),
        (lambda at: (at / "models/irl_reward/more").write_text(""), "irl_reward is not what"),
        (lambda at: swap(at / "params.yaml", "lr: 0.01", "lr: 0.02"), "irl.lr is 0.02 in params"),
        (lambda at: swap(at / "params.yaml", "seed: 0", "seed: 1"), "seed is 1 in params.yaml"),
        (lambda at: swap(at / "dvc.lock", "evaluate:", "other:"), "has no stage evaluate"),
    ],
)
def test_what_is_not_of_this_run_is_said(copy: Path, change: Any, line: str):
    change(copy)
    with pytest.raises(UserError, match=re.escape(line)):
        check_made(copy, STAGES, OUTS)


def swap(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_stage_that_ran_before_its_input_changed_is_said(copy: Path):
    lock = (copy / "dvc.lock").read_text()
    base = next(re.finditer(r"md5: (\w+)\.dir", lock))[1]
    at = lock.index("generate_pairs:")
    (copy / "dvc.lock").write_text(lock[:at] + lock[at:].replace(base, "0" * 32))
    with pytest.raises(UserError, match="generate_pairs ran before models/base changed"):
        check_made(copy, ("base_policy", *STAGES), OUTS)


@pytest.fixture(scope="module")
def browser():
    with browsing() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def address(browser: Browser, loop: ClosedLoop):
    with served(loop) as server:
        yield server.address


def ended(visit: Visit) -> None:
    visit.page.locator("#score:not([aria-disabled])").wait_for()


def cells(visit: Visit) -> list[str]:
    return visit.page.locator("#rows td").all_inner_texts()


def test_typing_and_submitting_changes_scores_and_credits(browser: Browser, address: str):
    with browser.open(address) as visit:
        page = visit.page
        page.get_by_label("Prompt").fill(PROMPT)
        page.get_by_role("textbox", name="Completion 1").fill(" is a good one")
        page.get_by_role("button", name="Score", exact=True).click()
        ended(visit)
        first, words = cells(visit), page.locator("#texts .text").inner_text()
        assert words == PROMPT + " is a good one"
        assert page.locator("#status").inner_text().startswith("Scored: R̂ ")
        page.get_by_role("textbox", name="Completion 1").fill(" you fool of a <b>page</b>")
        assert "changed since" in page.locator("#status").inner_text()
        page.get_by_role("textbox", name="Completion 1").press("Control+Enter")
        ended(visit)
        assert cells(visit) != first
        assert page.locator("#texts .text").inner_text() == PROMPT + " you fool of a <b>page</b>"
        assert page.locator("#texts b").count() == 0
        assert page.locator("#texts .w").count() > 0
        assert page.locator("#texts li").count() >= 6
        assert set(visit.asked) == {f"{address}score"}
        assert visit.troubles() == []


def test_policies_write_side_by_side_and_what_they_wrote_can_be_taken(
    browser: Browser, address: str
):
    with browser.open(address) as visit:
        page = visit.page
        page.get_by_label("Prompt").fill(PROMPT)
        page.get_by_role("button", name="Sample the policies").click()
        ended(visit)
        assert page.locator("#policies h3").all_inner_texts() == ["base", "aligned", "rerl"]
        written = page.locator("#policies .text").first.text_content()
        page.get_by_role("button", name="Take base's text 1 as a completion").click()
        taken = PROMPT + page.get_by_role("textbox", name="Completion 1").input_value()
        assert taken == written.removesuffix(" … (cut)")
        page.get_by_label("Seed").fill("7")
        page.get_by_label("Seed").press("Enter")
        ended(visit)
        assert page.locator("#policies .text").first.text_content() != written
        assert visit.troubles() == []


def test_what_is_missing_is_said_where_it_is_missing(browser: Browser, address: str):
    with browser.open(address) as visit:
        page = visit.page
        page.get_by_role("button", name="Score", exact=True).click()
        assert page.get_by_role("alert").inner_text() == "Completion 1 is empty: type a text."
        assert page.evaluate("document.activeElement.id") == "completion-1"
        page.get_by_role("button", name="Sample the policies").click()
        assert "The prompt is empty" in page.get_by_role("alert").inner_text()
        page.get_by_label("Prompt").fill("word " * 500)
        page.get_by_role("button", name="Sample the policies").click()
        ended(visit)
        assert "shorten it" in page.get_by_role("alert").inner_text()
        page.get_by_label("Seed").fill("")
        page.get_by_role("button", name="Sample the policies").click()
        assert "whole number" in page.get_by_role("alert").inner_text()
        assert visit.troubles() == []


def test_100_000_characters_do_not_freeze_the_page(browser: Browser, address: str):
    with browser.open(address) as visit:
        page = visit.page
        page.get_by_role("textbox", name="Completion 1").fill("you fool " * 11_112)
        page.get_by_role("button", name="Score", exact=True).click()
        page.locator("#score").dispatch_event("click")  # while it reads
        assert "not needed" in page.get_by_role("status").inner_text()
        ended(visit)
        assert len(cells(visit)) == 6
        assert "more characters" in page.locator("#texts .text").inner_text()
        assert visit.asked == [f"{address}score"]
        page.get_by_role("textbox", name="Completion 1").fill("a" * 200_001)
        page.get_by_role("button", name="Score", exact=True).click()
        assert "200,001 characters" in page.get_by_role("alert").inner_text()
        assert visit.overflow() == 0
        assert visit.troubles() == []


def test_completions_come_and_go_by_keyboard(browser: Browser, address: str):
    with browser.open(address) as visit:
        page = visit.page
        for _ in range(8):
            page.get_by_role("button", name="Add a completion").press("Enter")
        assert page.locator("#completions textarea").count() == 8
        assert "8 completions" in page.get_by_role("alert").inner_text()
        page.get_by_role("button", name="Remove completion 3").press("Enter")
        labels = page.locator("#completions label").all_inner_texts()
        assert labels == [f"Completion {n}" for n in range(1, 8)]
        assert page.evaluate("document.activeElement.id") == "completion-1"


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_bars_anyone(browser: Browser, address: str, width: int, dark: bool):
    with browser.open(address, width=width, dark=dark) as visit:
        assert visit.barriers() == []
        page = visit.page
        page.get_by_label("Prompt").fill(PROMPT)
        page.get_by_role("textbox", name="Completion 1").fill(" you fool")
        page.get_by_role("button", name="Score", exact=True).click()
        ended(visit)
        page.get_by_role("button", name="Sample the policies").click()
        ended(visit)
        page.get_by_role("button", name="Add a completion").click()
        page.get_by_role("button", name="Score", exact=True).click()  # one is empty
        for details in page.locator("summary").all():
            details.click()
        assert visit.barriers() == []
        assert visit.overflow() == 0


def test_a_server_that_has_ended_is_said(browser: Browser, loop: ClosedLoop):
    with served(loop) as server, browser.open(server.address) as visit:
        server.shutdown()
        server.socket.close()
        visit.page.get_by_role("textbox", name="Completion 1").fill("a")
        visit.page.get_by_role("button", name="Score", exact=True).click()
        ended(visit)
        assert "does not answer" in visit.page.get_by_role("alert").inner_text()


def test_what_the_page_asks_is_answered_in_json(loop: ClosedLoop):
    with served(loop) as server:
        question = {"prompt": PROMPT, "completions": [" good", " bad"]}
        found = answered(server, "/score", question)
        assert len(found["rows"]) == len(found["texts"]) == len(found["notes"]) == 2
