"""Comparison tasks as a Label Studio project: a labelling configuration and tasks.

Layouts: https://labelstud.io/tags and https://labelstud.io/guide/tasks#Basic-Label-Studio-JSON-format; tried with 1.23.2.

Belongs here: those two. Does not belong here: talking to a server (see ``resources.tools.label_studio``).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from crowd_assets.importers.label_studio import COMPARISON_FIELD, SHARE_FIELD
from crowd_assets.importers.label_studio_results import CERTAINTY

# Text tags show what people wrote as it is; HyperText would run it. A slider that starts at 100 and is left alone gives
# no number, which the importer takes for certain too.
CONFIGURATION = f"""<View>
  <Header value="Which answer is better?"/>
  <View style="padding: 0.5em 0"><Text name="prompt" value="$prompt"/></View>
  <Header value="Click the better one" size="5"/>
  <Pairwise name="preferred" toName="response_a,response_b"/>
  <View style="display: flex; gap: 1em">
    <View style="flex: 1; border: 1px solid #999; border-radius: 4px; padding: 1em"><Text name="response_a" value="$response_a"/></View>
    <View style="flex: 1; border: 1px solid #999; border-radius: 4px; padding: 1em"><Text name="response_b" value="$response_b"/></View>
  </View>
  <Choices name="tie" toName="prompt" choice="single"><Choice value="equal"/></Choices>
  <Header value="How sure are you, in percent? 50 is a coin, 100 is certain" size="5"/>
  <Number name="{CERTAINTY}" toName="prompt" min="50" max="100" step="5" slider="true" defaultValue="100"/>
  <Header value="Why? (optional)" size="5"/>
  <TextArea name="comment" toName="prompt" rows="2" maxSubmissions="1"/>
</View>"""


SPOKEN = """  <Header value="What was said before" size="5"/>
  <Paragraphs name="conversation" value="$messages" nameKey="role" textKey="content" layout="dialogue"/>
"""


def configuration(comparisons: Iterable[Mapping[str, Any]]) -> str:
    """The labelling configuration that shows all there is of some comparisons: conversations too, where one of them ends one."""
    head, rest = CONFIGURATION.split("\n", 1)
    return f"{head}\n{SPOKEN}{rest}" if any(each.get("messages") for each in comparisons) else CONFIGURATION


def tasks(comparisons: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One task a comparison; A stands left. Where one has a conversation, all have ``messages``, as the configuration shows them."""
    comparisons = list(comparisons)
    names = (COMPARISON_FIELD, "prompt", "response_a", "response_b", SHARE_FIELD)
    spoken = any(each.get("messages") for each in comparisons)
    return [
        {
            "data": {name: comparison[name] for name in names if name != SHARE_FIELD or comparison.get(name)}
            | ({"messages": messages_of_task(comparison)} if spoken else {})
        }
        for comparison in comparisons
    ]


def messages_of_task(comparison: Mapping[str, Any]) -> list[dict[str, str]]:
    """The conversation that a comparison's answers go on with: its messages, or the prompt alone."""
    return comparison.get("messages") or [{"role": "user", "content": comparison["prompt"]}]
