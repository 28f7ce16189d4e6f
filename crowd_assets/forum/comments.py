"""A small forum whose truth is known: threads about everyday topics, and comments written in a known mood.

What belongs here: the grammar (topics, moods, sentence templates), and the functions that draw prompts, comments and the
texts of careless or dishonest contributors from it. What does not: who writes what, when and why (that is the crowd's),
and anything that trains a model. numpy only; every draw comes from the ``Generator`` that is passed in.

A comment is an *opener* and a *continuation* of one mood, with nouns of one topic in their slots. The slots are

``{thing}``   one thing of the topic, with its article        ``{things}``  several of them, without an article
``{person}``  somebody of the topic, with an article          ``{doing}``   an activity, as a gerund
``{place}``   where, with its preposition                     ``{when}``    a time in the past

No filler occurs in two topics and every continuation has a topic slot, so different choices give different texts: that is
what lets ``write_comments`` promise distinct responses and say how many there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod

import numpy as np


@dataclass(frozen=True)
class Comment:
    """A comment below a thread title, with the mood and the topic it was written in."""

    prompt: str
    response: str
    mood: str
    topic: str


@dataclass(frozen=True)
class _Topic:
    name: str
    fillers: dict[str, tuple[str, ...]]


def _topic(name: str, thing: str, things: str, person: str, doing: str, place: str) -> _Topic:
    slots = {"thing": thing, "things": things, "person": person, "doing": doing, "place": place}
    return _Topic(name, {slot: tuple(text.split(" / ")) for slot, text in slots.items()})


_WHEN = (
    "last weekend",
    "yesterday",
    "this morning",
    "last night",
    "on Tuesday",
    "two days ago",
    "after work",
    "earlier this week",
    "last month",
    "on Sunday",
)

_TOPICS = {
    topic.name: topic
    for topic in (
        _topic(
            "gardening",
            "the compost heap / the raised bed by the wall / the old apple tree / the seed swap",
            "tomato seedlings / climbing roses / garden slugs",
            "the head gardener / the lady with the greenhouse",
            "watering the beds / pruning in winter / sowing beans",
            "at the allotment / in the front garden",
        ),
        _topic(
            "cooking",
            "the lentil soup recipe / the cast-iron pan / the pressure cooker / the Sunday roast",
            "homemade dumplings / kitchen knives / pickled onions",
            "the chef from the cookery course / my neighbour the cook",
            "chopping onions / cooking for ten people / making stock from scratch",
            "in the community kitchen / around the dinner table",
        ),
        _topic(
            "cycling",
            "the new bike lane / the repair stand by the bridge / the canal path / the spring bike ride",
            "puncture kits / cargo bikes / rusty chains",
            "the bike mechanic / the leader of the Saturday ride",
            "cycling to work / riding up the pass / truing a wheel",
            "on the ring road / outside the bike shop",
        ),
        _topic(
            "board games",
            "the rulebook of the farming game / the dice tower / the Thursday game night / the expansion box",
            "wooden meeples / score pads / cooperative games",
            "the host of game night / the designer of the card game",
            "explaining the rules / painting miniatures / playing with five people",
            "at the game cafe / around the big table",
        ),
        _topic(
            "video games",
            "the latest patch / the final boss / the soundtrack of the space game / the new controller",
            "side quests / loading screens / retro consoles",
            "the lead developer / the moderator of the game server",
            "speedrunning the first level / playing split screen / modding the engine",
            "on the public server / in the arcade",
        ),
        _topic(
            "public transport",
            "the number four tram / the night bus / the monthly ticket / the new timetable",
            "ticket machines / bus shelters / replacement buses",
            "the tram driver / the ticket inspector",
            "waiting for the last bus / changing trains at noon / commuting by tram",
            "at the bus stop / on the upper deck",
        ),
        _topic(
            "the library",
            "the reading room / the summer reading list / the returns box / the book sale",
            "large-print novels / library cards / reading groups",
            "the children's librarian / the volunteer at the front desk",
            "borrowing audiobooks / reading to toddlers / shelving returns",
            "between the shelves / in the library basement",
        ),
        _topic(
            "football",
            "the home match / the cup draw / the new pitch / the youth tournament",
            "penalty shootouts / season tickets / muddy boots",
            "the goalkeeper / our coach",
            "training in the rain / standing behind the goal / coaching the under-nines",
            "in the away stand / at the football ground",
        ),
        _topic(
            "running",
            "the city half marathon / the hill loop / the training plan / the Wednesday running club",
            "carbon shoes / early starts / interval sessions",
            "the pacemaker / the race director",
            "running before breakfast / stretching properly / tapering for a race",
            "along the river / near the finish line",
        ),
        _topic(
            "swimming",
            "the outdoor pool / the morning lane / the lake crossing / the swimming badge",
            "swim caps / wave machines / diving boards",
            "the lifeguard / the swimming teacher",
            "swimming in cold water / learning the crawl / floating on your back",
            "in the deep end / by the pool",
        ),
        _topic(
            "hiking",
            "the ridge trail / the mountain hut / the waymarked loop / the summit cross",
            "walking poles / rest stops / trail maps",
            "the warden of the hut / the walking group's guide",
            "hiking with a heavy pack / crossing the stream / following the cairns",
            "above the tree line / at the trailhead",
        ),
        _topic(
            "birdwatching",
            "the bird hide / the heron's nest / the winter bird count / the nesting box",
            "spotting scopes / garden finches / bird feeders",
            "the ornithologist / the birder with the notebook",
            "listening for owls / counting swallows / keeping a bird list",
            "in the reed bed / on the mudflats",
        ),
        _topic(
            "photography",
            "the portrait lens / the darkroom / the monthly photo contest / the old film camera",
            "long exposures / street photos / camera straps",
            "the wedding photographer / the judge of the photo contest",
            "shooting at sunset / editing portraits / developing black-and-white film",
            "in the studio / from the rooftop",
        ),
        _topic(
            "knitting",
            "the cable pattern / the striped scarf / the yarn swap / the lace shawl",
            "circular needles / wool socks / stitch markers",
            "the owner of the wool shop / the test knitter",
            "knitting on the train / dyeing wool / turning a heel",
            "at the knitting circle / in the yarn shop",
        ),
        _topic(
            "woodworking",
            "the oak bench / the band saw / the tool library / the dovetail joint",
            "hand planes / pine boards / sanding blocks",
            "the cabinet maker / the woodwork tutor",
            "oiling the table top / sharpening chisels / building a bookshelf",
            "in the shed / at the workbench",
        ),
        _topic(
            "baking",
            "the sourdough starter / the lemon tart / the stone oven / the village bake-off",
            "cinnamon buns / proving baskets / burnt edges",
            "the baker on the corner / the judge of the bake-off",
            "kneading by hand / folding croissants / baking at midnight",
            "in the bakery / next to the oven",
        ),
        _topic(
            "coffee",
            "the espresso machine / the hand grinder / the corner cafe / the light roast",
            "paper filters / oat lattes / coffee beans",
            "the barista / the roaster",
            "steaming milk / brewing a second cup / tasting three roasts",
            "at the coffee bar / on the cafe terrace",
        ),
        _topic(
            "chess",
            "the club championship / the chess clock / the Sicilian defence / the simultaneous match",
            "endgame puzzles / blitz games / travel chess sets",
            "the grandmaster / the arbiter",
            "studying openings / playing without a clock / analysing lost games",
            "at the chess club / on board one",
        ),
        _topic(
            "the school",
            "the school play / the science fair / the new playground / the parents' evening",
            "homework diaries / lunch boxes / spelling tests",
            "the maths teacher / the caretaker",
            "walking to school / marking essays / organising the school trip",
            "in the classroom / at the school gate",
        ),
        _topic(
            "the weekly market",
            "the cheese stall / the flower stand / the Christmas market / the farmers' tent",
            "ripe peaches / market traders / paper bags",
            "the fishmonger / the woman who sells honey",
            "haggling over plums / shopping at dawn / trying olives",
            "on the market square / beside the fountain",
        ),
        _topic(
            "choir",
            "the spring concert / the alto part / the rehearsal room / the carol evening",
            "high notes / sheet-music folders / warm-up exercises",
            "the conductor / the first soprano",
            "singing in harmony / learning the Latin text / rehearsing on Fridays",
            "in the church hall / in the back row of the choir",
        ),
        _topic(
            "guitar",
            "the twelve-string guitar / the open-mic night / the practice amp / the blues riff",
            "barre chords / effect pedals / spare strings",
            "the guitar teacher / the bass player",
            "restringing a guitar / playing by ear / jamming on the porch",
            "in the garage / on the small stage",
        ),
        _topic(
            "films",
            "the midnight screening / the director's cut / the silent film / the open-air cinema",
            "film posters / subtitled thrillers / surprise endings",
            "the projectionist / the film critic",
            "watching a trilogy / quoting old films / queueing for popcorn",
            "in the front row / at the cinema",
        ),
        _topic(
            "novels",
            "the second chapter / the book club pick / the crime series / the unreliable narrator",
            "paperback covers / historical sagas / short stories",
            "the author / the translator",
            "reading until two in the morning / rereading the classics / discussing the plot",
            "at the book club / in the reading chair",
        ),
        _topic(
            "dogs",
            "the dog park / the puppy class / the rescue shelter / the long leash",
            "squeaky toys / muddy paws / training treats",
            "the dog walker / the vet",
            "walking two dogs / teaching the recall / brushing a spaniel",
            "on the dog beach / behind the kennels",
        ),
        _topic(
            "cats",
            "the scratching post / the cat flap / the ginger kitten / the cardboard castle",
            "cat toys / hairballs / indoor cats",
            "the cat sitter / the woman from the cat rescue",
            "introducing a second cat / trimming claws / cleaning the litter box",
            "on the windowsill / under the sofa",
        ),
        _topic(
            "astronomy",
            "the star party / the eight-inch telescope / the lunar eclipse / the planetarium",
            "meteor showers / double stars / red torches",
            "the astronomer / the keeper of the observatory",
            "aligning the mount / sketching the moon / hunting for comets",
            "at the observatory / under dark skies",
        ),
        _topic(
            "camping",
            "the two-person tent / the camp stove / the lakeside campsite / the shared fire pit",
            "sleeping mats / tent pegs / camp lanterns",
            "the ranger / the family in the next tent",
            "sleeping outdoors / pitching the tent / cooking on embers",
            "by the campfire / in the pine wood",
        ),
        _topic(
            "fishing",
            "the fly rod / the trout stream / the fishing permit / the old jetty",
            "barbless hooks / carp ponds / fishing flies",
            "the river keeper / the angler from upstream",
            "casting against the wind / tying knots / fishing at first light",
            "on the pier / below the weir",
        ),
        _topic(
            "painting",
            "the life-drawing class / the watercolour box / the autumn exhibition / the big canvas",
            "sable brushes / oil paints / charcoal sketches",
            "the art teacher / the gallery owner",
            "mixing greens / painting outdoors / framing a picture",
            "in the attic studio / at the easel",
        ),
        _topic(
            "pottery",
            "the potter's wheel / the blue glaze / the shared kiln / the raku evening",
            "stoneware bowls / trimming tools / cracked mugs",
            "the potter / the technician who fires the kiln",
            "centring clay / glazing plates / throwing a tall vase",
            "in the clay studio / beside the kiln",
        ),
        _topic(
            "home repair",
            "the leaking tap / the fuse box / the attic insulation / the repair cafe",
            "paint rollers / drill bits / squeaky hinges",
            "the plumber / the electrician",
            "tiling the bathroom / hanging a door / fixing the gutter",
            "under the sink / in the cellar",
        ),
        _topic(
            "old cars",
            "the vintage rally / the blue convertible / the carburettor / the barn find",
            "chrome bumpers / spare parts / leather seats",
            "the restorer / the retired mechanic",
            "polishing chrome / hunting for parts / rebuilding the gearbox",
            "at the car meet / in the workshop",
        ),
        _topic(
            "model railways",
            "the club layout / the steam engine / the freight yard / the signal box",
            "plastic trees / narrow-gauge tracks / miniature bridges",
            "the club treasurer / the man who built the viaduct",
            "wiring the points / weathering wagons / running two trains at once",
            "at the railway exhibition / in the hobby room",
        ),
        _topic(
            "programming",
            "the build script / the code review / the open-source release / the test suite",
            "merge conflicts / unit tests / error messages",
            "the maintainer / the new intern",
            "refactoring old code / pairing on a bug / writing documentation",
            "in the issue tracker / at the hackathon",
        ),
        _topic(
            "podcasts",
            "the history podcast / the live episode / the new microphone / the interview series",
            "bonus episodes / show notes / sound effects",
            "the co-host / the sound engineer",
            "listening on a long drive / recording an intro / cutting out pauses",
            "in the recording booth / on the podcast feed",
        ),
        _topic(
            "languages",
            "the Spanish course / the conversation table / the grammar book / the pronunciation app",
            "irregular verbs / flash cards / false friends",
            "the tandem partner / the language teacher",
            "learning Japanese / practising small talk / rolling the letter r",
            "at the language school / in the evening class",
        ),
        _topic(
            "travel",
            "the night train to Vienna / the island ferry / the walking tour / the little guest house",
            "window seats / travel diaries / packing lists",
            "the tour guide / the innkeeper",
            "travelling with hand luggage / crossing three borders / planning a honeymoon",
            "on the coast road / in the old harbour",
        ),
        _topic(
            "the weather",
            "the storm warning / the first snow / the rain gauge / the long heatwave",
            "morning frosts / weather apps / summer thunderstorms",
            "the meteorologist / the farmer with the weather station",
            "clearing snow / walking in the fog / reading the clouds",
            "up on the hill / all over town",
        ),
        _topic(
            "recycling",
            "the recycling centre / the bottle bank / the give-away shelf / the spring clean-up",
            "glass jars / compostable bags / collection days",
            "the collection crew's foreman / the woman from the swap shop",
            "sorting plastic / mending old clothes / avoiding packaging",
            "at the tip / beside the bins",
        ),
        _topic(
            "houseplants",
            "the monstera cutting / the plant swap / the grow lamp / the hanging fern",
            "spider mites / terracotta pots / fungus gnats",
            "the florist / the botanist",
            "repotting a cactus / misting leaves / propagating succulents",
            "in the conservatory / on the sunny sill",
        ),
        _topic(
            "beekeeping",
            "the top hive / the honey harvest / the queen cell / the bee smoker",
            "honey jars / wax frames / worker bees",
            "the bee inspector / the old beekeeper",
            "catching a swarm / spinning honey / feeding bees in spring",
            "in the orchard / among the hives",
        ),
        _topic(
            "theatre",
            "the amateur production / the second act / the lighting desk / the summer musical",
            "stage props / opening nights / painted backdrops",
            "the stage manager / the leading actor",
            "learning lines / sewing costumes / auditioning for a small part",
            "backstage / at the playhouse",
        ),
        _topic(
            "climbing",
            "the bouldering wall / the yellow route / the sandstone crag / the climbing course",
            "chalk bags / finger holds / belay devices",
            "the route setter / the belay partner",
            "climbing without fear / leading the crux / taping fingers",
            "at the climbing gym / on the rock face",
        ),
        _topic(
            "dancing",
            "the tango evening / the salsa class / the wooden dance floor / the summer ball",
            "dance shoes / line dances / quick turns",
            "the dance teacher / the DJ",
            "dancing until closing time / leading a waltz / counting the beat",
            "in the ballroom / at the dance studio",
        ),
        _topic(
            "sailing",
            "the regatta / the wooden dinghy / the harbour wall / the spare sail",
            "life jackets / tide tables / sailing knots",
            "the skipper / the harbour master",
            "sailing upwind / reefing early / scrubbing the hull",
            "out on the bay / at the yacht club",
        ),
        _topic(
            "local history",
            "the old mill / the town archive / the war memorial / the history walk",
            "parish records / faded postcards / street names",
            "the town archivist / the oldest resident",
            "tracing a family tree / restoring gravestones / mapping old lanes",
            "in the archive / at the town museum",
        ),
    )
}

TOPICS: tuple[str, ...] = tuple(_TOPICS)
"""The names of the forum's topics."""

_PROMPTS = (
    "What do you think about {thing}?",
    "Thoughts on {thing}?",
    "News about {thing}",
    "A question about {things}",
    "How do you feel about {things}?",
    "Your experience with {things}?",
    "{things}: share your story",
    "Has anyone tried {doing}?",
    "{doing}: how did it go?",
    "Tell us about {doing} {place}",
    "What happened {place} {when}?",
    "Update: {thing}",
    "Discussion thread: {thing}",
    "{person} posted about {thing}",
    "{person} wrote about {doing}",
    "Who was {place} {when}?",
    "Let us talk about {things}",
    "Say something about {thing}",
    "Open thread: {doing}",
    "Reactions to {thing} {place}",
    "Your week: {doing}",
    "What is going on with {thing}?",
    "A word on {things} {place}",
    "Has anyone talked to {person}?",
)

_OPENERS: dict[str, tuple[str, ...]] = {
    "admiration": (
        "What brilliant work.",
        "Hats off to {person}.",
        "I am seriously impressed.",
        "This is masterful.",
        "Such talent deserves applause.",
        "Wow, the skill on display here is remarkable.",
        "{person} is an inspiration to all of us.",
        "That takes real dedication.",
        "I have enormous respect for this.",
        "Nobody does it better.",
        "You have to admire such patience.",
        "Truly outstanding craftsmanship.",
        "I look up to people like this.",
        "If you ask me who deserves a medal,",
        "Speaking as somebody who tried and failed to be that good:",
        "I am in awe.",
        "Every detail is superb.",
    ),
    "amusement": (
        "Haha, I cannot stop laughing.",
        "This is hilarious.",
        "I nearly spat out my tea.",
        "LOL, of course this happened.",
        "Best joke of the week.",
        "I laughed so hard that I scared the neighbours.",
        "You could not make it up.",
        "That made me giggle all day.",
        "Comedy gold, all of it.",
        "My whole family was in stitches.",
        "Picture the scene:",
        "Funniest thing I have read in ages.",
        "I am still grinning like a fool.",
        "Oh, the slapstick of it.",
        "In today's episode of our little sitcom,",
        "Ha, tell that one again.",
        "I snorted out loud in the office.",
    ),
    "anger": (
        "This is outrageous.",
        "I am absolutely furious.",
        "How dare they?",
        "It makes my blood boil.",
        "Shame on everyone responsible.",
        "I have never been so angry in my life.",
        "Enough is enough!",
        "What an insult to all of us.",
        "Somebody must answer for this.",
        "I am shaking with rage.",
        "They lied straight to our faces.",
        "This is a disgrace, plain and simple.",
        "I want an apology, and I want it today.",
        "Do they think that we are idiots?",
        "I slammed the door when I heard it.",
        "No more excuses!",
        "To the people who did this:",
    ),
    "annoyance": (
        "Ugh, not this again.",
        "Here we go, same old story.",
        "Could we please stop doing this?",
        "I roll my eyes every single time.",
        "This is getting on my nerves.",
        "Oh great, another fuss about nothing.",
        "For the tenth time,",
        "Seriously, how hard can it be?",
        "It is a small thing, but it bugs me.",
        "I am so tired of this nonsense.",
        "Must we go through this every week?",
        "Sigh.",
        "My patience is wearing thin.",
        "As usual, nobody read the notice:",
        "What a pointless hassle.",
        "It drives me up the wall.",
        "Nothing is more irritating.",
    ),
    "curiosity": (
        "I have been wondering about this.",
        "Now I am intrigued.",
        "Out of interest,",
        "Here is something that I would love to understand:",
        "This raises so many questions.",
        "Does anyone know more?",
        "I am new here and eager to learn.",
        "Tell me more, please.",
        "Fascinating, I had no idea.",
        "One thing puzzles me in a good way:",
        "I went down a rabbit hole on this.",
        "Just curious,",
        "That makes me want to find out more.",
        "Interesting point, I never looked at it like that.",
        "May I ask a beginner's question?",
        "My inner child keeps asking why.",
        "I keep coming back to this mystery.",
    ),
    "disappointment": (
        "I expected so much more.",
        "Well, that was a let-down.",
        "What a pity.",
        "After all the hype, this fell flat.",
        "I had such high hopes.",
        "It did not live up to its promise.",
        "Not what we were told to expect.",
        "Sadly underwhelming, I have to say.",
        "I left early, feeling short-changed.",
        "Is that really all?",
        "Such a missed opportunity.",
        "We waited a year for this, and for what?",
        "I wanted to like it, and I could not.",
        "Two stars out of five, and that is generous.",
        "A poor effort compared with last year.",
        "Once again the result was mediocre.",
        "It could have been wonderful, and it was not.",
    ),
    "fear": (
        "I am honestly scared.",
        "This frightens me.",
        "My hands are trembling as I type.",
        "I could not sleep because of it.",
        "It gives me the chills.",
        "Please tell me that we are safe.",
        "I have a terrible feeling about this.",
        "My heart is pounding.",
        "Call me a coward, but I panicked.",
        "What if the worst happens?",
        "I am dreading the next few days.",
        "Since that awful night I have one thought:",
        "I keep looking over my shoulder.",
        "The very thought makes me shudder.",
        "Nightmares, every night.",
        "I froze on the spot.",
        "It may sound silly, but I am too afraid to go back.",
    ),
    "gratitude": (
        "Thank you so much, everyone.",
        "I am really grateful for this thread.",
        "Thanks a million to {person}.",
        "I owe {person} a big favour.",
        "Much appreciated, all of you.",
        "I cannot thank this community enough.",
        "Bless you all for the advice.",
        "You saved me a whole weekend of work.",
        "Many thanks for taking the time to answer.",
        "What a kind thing to share.",
        "I just wanted to say how thankful I am.",
        "You are all lifesavers.",
        "Cheers for that, it means a lot.",
        "Thank you for your patience with my questions.",
        "I really appreciate the help.",
        "So many of you were kind enough to reply.",
        "I am in your debt.",
    ),
    "joy": (
        "This made my day!",
        "I am so happy right now.",
        "Yes, yes, yes!",
        "What a wonderful surprise.",
        "I am grinning from ear to ear with pure delight.",
        "Best weekend ever!",
        "We danced around the living room.",
        "I could hug the whole world.",
        "Life is beautiful.",
        "It fills me with happiness.",
        "I woke up smiling.",
        "Hooray, it finally happened!",
        "Such a lovely, sunny moment.",
        "I am over the moon.",
        "My heart is singing.",
        "Pure bliss from start to finish.",
        "With a big smile on my face I can report that",
    ),
    "sadness": (
        "This breaks my heart.",
        "I cried when I read it.",
        "I feel so empty today.",
        "It has been a hard and lonely week.",
        "I am heartbroken.",
        "Some losses never stop hurting.",
        "My eyes filled with tears.",
        "I do not have many words, only grief.",
        "We are in mourning here.",
        "It makes me so sad.",
        "I miss the old days terribly.",
        "There is a heavy silence at home.",
        "The saddest news of the year.",
        "I keep staring at the old photos.",
        "Nothing feels the same any more.",
        "With a heavy heart I have to write that",
        "I have been feeling low ever since.",
    ),
}

_CONTINUATIONS: dict[str, tuple[str, ...]] = {
    "admiration": (
        "{person} makes {doing} look effortless.",
        "the care that went into {thing} is amazing.",
        "I could watch {person} for hours {place}.",
        "the whole team behind {thing} deserves an award.",
        "few people know {things} as well as {person} does.",
        "{person} handled {thing} like a true professional {when}.",
        "{doing} at that level takes years of practice.",
        "I have never seen {things} done so beautifully.",
        "what {person} achieved {place} sets the standard for the rest of us.",
        "{thing} is a work of art, and {person} stays so modest about it.",
        "the talent that I saw {place} {when} was exceptional.",
        "{person} is the best there is when it comes to {things}.",
        "such an elegant approach to {doing} commands respect.",
        "{thing} shows what genius and hard work can do.",
        "I hope to be half as good at {doing} one day.",
        "{person} has turned {things} into something magnificent.",
        "that performance {place} was flawless from start to finish.",
    ),
    "amusement": (
        "{person} tripped over {thing} and took a bow.",
        "somebody put a tiny hat on {thing} {when}.",
        "{person} tells the funniest stories about {doing}.",
        "{doing} with my uncle is a comedy show of its own.",
        "there was a goose {place}, and the goose won.",
        "I tried {doing} {when}, and even the dog was laughing at me.",
        "my son asked whether {things} have feelings, and we all lost it.",
        "{person} called {thing} by the wrong name for an hour, hee hee.",
        "the jokes about {things} write themselves.",
        "whoever drew a moustache on the sign {place} is a comic genius.",
        "{person} did an impression of {thing} that had us howling.",
        "a duck, a ladder and {things}, what could possibly go wrong?",
        "I mixed up {things} with my lunch, to general hilarity.",
        "the prank {place} {when} was too silly for words.",
        "nobody could keep a straight face while {doing}.",
        "my attempt at {doing} is now a family meme.",
        "{person} got stuck {place} and blamed it on {things}.",
    ),
    "anger": (
        "they wrecked {thing} and nobody took the blame.",
        "{person} cheated us, and we will not forget it.",
        "whoever vandalised {thing} {when} should be banned for life.",
        "{person} had no right to shout at the children {place}.",
        "they stole our money and spent it on {things}.",
        "we were treated like dirt {place} {when}.",
        "I demand that {person} resigns over {thing}.",
        "it is a scandal how they let {thing} rot.",
        "those greedy crooks banned us from {doing}.",
        "I will file a complaint about {person} tomorrow.",
        "{person} insulted everybody who cares about {things}.",
        "they are destroying {thing} out of pure malice.",
        "stop lying to us about {things}!",
        "how can anyone forbid {doing} and pocket the fees?",
        "{person} threw my things on the floor {place}, and I exploded.",
        "the people in charge of {thing} are corrupt to the core.",
        "I hate the way they bully beginners who enjoy {doing}.",
    ),
    "annoyance": (
        "somebody left a mess {place} again.",
        "{person} keeps talking over everybody about {things}.",
        "people who will not shut up about {doing} are exhausting.",
        "there is always somebody blocking the way {place}.",
        "I get five notifications a day about {thing}.",
        "{person} was twenty minutes late {when}, as always.",
        "the queue for {thing} never moves.",
        "can we have one week without a lecture on {things}?",
        "could {person} stop humming while others are {doing}?",
        "the same old argument about {things} comes up every week.",
        "I have to fill in yet another form for {thing}.",
        "{doing} would be fine without the constant beeping {place}.",
        "why does {person} always reply to all?",
        "another pop-up about {things} and I will unsubscribe.",
        "they moved {thing} without telling anyone, how tiresome.",
        "no, {doing} does not need a fifth committee.",
        "somebody fiddled with {thing} {when} and left it sticky.",
    ),
    "curiosity": (
        "how did {thing} get started in the first place?",
        "I wonder what {person} knows about {things}.",
        "where can I read up on {doing}?",
        "who decided how {thing} was going to be done?",
        "I would like to ask {person} about the history of {things}.",
        "what is the difference between {doing} and the way it was done before?",
        "does anybody know the story behind {thing}?",
        "why are there so many {things} {place}?",
        "I started a notebook on {things} {when} and have thirty questions already.",
        "how do people abroad deal with {things}?",
        "can somebody explain the science of {doing}?",
        "I am keen to learn how {person} got into {doing}.",
        "which book about {things} would you recommend to a newcomer?",
        "is it true that {thing} was once much bigger?",
        "what would happen if we all tried {doing}?",
        "I want to see for myself what goes on {place}.",
        "has anyone ever measured how long {doing} takes?",
    ),
    "disappointment": (
        "{thing} was nothing like the announcement.",
        "{person} promised a lot about {things} and delivered very little.",
        "I had looked forward to {doing}, and it turned out dull.",
        "{thing} was cancelled at the last minute {when}.",
        "the crowd {place} went home early and unimpressed.",
        "{things} were all that was on offer, and not even good ones.",
        "I saved up for {thing}, and it is not worth the price.",
        "{person} did not even show up {place}.",
        "all that was left {place} {when} was a sorry handful of {things}.",
        "{doing} sounded exciting, but the reality is bland.",
        "I thought that {person} would make more of {thing}.",
        "the new version of {thing} is weaker than the old one.",
        "we came all the way for {thing}, and it was closed.",
        "the quality of {things} has gone downhill.",
        "my hopes for {thing} faded within five minutes.",
        "nobody had prepared anything for {doing}, so we just stood around.",
        "the photos of {things} looked far better than the real ones.",
    ),
    "fear": (
        "I heard strange noises {place} {when}.",
        "I am afraid that somebody will get hurt {place}.",
        "{doing} alone after dark is too dangerous for me.",
        "{person} warned us that {thing} could collapse.",
        "I do not dare to go near {thing} any more.",
        "what if there is nobody to help us while {doing}?",
        "I panic at the mere sight of {things}.",
        "somebody was following {person} {place}.",
        "ever since the accident {place} I have been anxious.",
        "{thing} looked so unsafe that I ran for the exit.",
        "I worry that we could lose {thing} and everything with it.",
        "one wrong move while {doing} and it is all over.",
        "{person} vanished {place} {when}, and the police are searching.",
        "the thought of {doing} makes my stomach turn with dread.",
        "I lock the door twice whenever {things} are mentioned.",
        "we are all in danger if {thing} fails.",
        "I screamed when the lights went out {place}.",
    ),
    "gratitude": (
        "without you I would have given up on {thing}.",
        "your advice on {doing} was exactly what I needed.",
        "I would never have managed {doing} without your help.",
        "{person} spent an hour explaining {thing} to me, for free.",
        "it was so generous of {person} to help me {place}.",
        "you made {doing} so much easier for a beginner.",
        "I will pass your kindness on when someone asks about {things}.",
        "your notes on {thing} helped me more than you know.",
        "the next round of drinks {place} is on me.",
        "everything that I know about {things} I learned from you.",
        "with the support of {person}, {doing} went well {when}.",
        "so many of you answered my question about {things}.",
        "please tell {person} that I will always be grateful.",
        "we are lucky that {person} looks after {thing} for us.",
        "your reply about {things} was worth more than a paid course.",
        "thanks again to {person} for lending a hand {place} {when}.",
        "the volunteers behind {thing} have earned our thanks.",
    ),
    "joy": (
        "{thing} was pure magic {when}.",
        "we laughed and sang {place} until sunset.",
        "{doing} makes me feel alive.",
        "I finally got to share {thing} with my daughter.",
        "nothing beats a perfect day of {doing}.",
        "{person} surprised us all {place} with cake.",
        "I love {things} more than ever.",
        "we celebrated {thing} {place} with all our friends.",
        "my little ones beamed when they saw {things}.",
        "{doing} in the sunshine is the best feeling in the world.",
        "everybody cheered when {person} brought {things}.",
        "I had the happiest afternoon {place} {when}.",
        "I have fallen in love with {doing} all over again.",
        "it feels like a holiday whenever I am {place}.",
        "I heard {when} that {thing} is staying, and I jumped for joy!",
        "I have been dreaming of {thing} for years, and now it is real.",
        "our first try at {doing} was a dream come true.",
    ),
    "sadness": (
        "{person} passed away {when}, and we miss them dearly.",
        "we said goodbye to {thing} for the last time {when}.",
        "{doing} is so lonely without my old friend.",
        "I used to go there with my late father, and now I sit alone {place}.",
        "{thing} reminds me of everything that I have lost.",
        "they are closing {thing} for ever, and part of me goes with it.",
        "{person} is moving away, and I already feel the gap.",
        "my grandmother loved {things}, and {when} I wept at her grave.",
        "there were only empty chairs {place} {when}.",
        "{things} still bring back painful memories.",
        "I gave up {doing} after the funeral.",
        "nobody comes {place} any more, and it hurts to see.",
        "I wish that I could share {thing} with her one more time.",
        "my best friend and I were always {doing}, and now she is gone.",
        "we lit a candle for {person} {place}.",
        "I could not bring myself to look at {thing} without tears.",
        "my brother talked about {things} until the day he died.",
    ),
}

MOODS: tuple[str, ...] = tuple(_OPENERS)
"""The moods that comments are written in, by their names among the 28 labels of GoEmotions."""

OPPOSITE: dict[str, str] = {
    "admiration": "disappointment",
    "amusement": "annoyance",
    "anger": "gratitude",
    "annoyance": "amusement",
    "curiosity": "fear",
    "disappointment": "admiration",
    "fear": "curiosity",
    "gratitude": "anger",
    "joy": "sadness",
    "sadness": "joy",
}
"""Each mood's opposite: what a contributor writes who works against the wanted mood."""

_SLOT = re.compile(r"\{(\w+)\}")

_Cell = tuple[_Topic, tuple[str, ...]]
"""A topic and the sentence templates of one text: everything but the choice of fillers."""


@cache
def _slots(parts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_SLOT.findall(" ".join(parts))))


def _choices(topic: _Topic, slot: str) -> tuple[str, ...]:
    return _WHEN if slot == "when" else topic.fillers[slot]


def _ways(cell: _Cell) -> int:
    """In how many ways the slots of ``cell`` can be filled."""
    topic, parts = cell
    return prod(len(_choices(topic, slot)) for slot in _slots(parts))


def _fillers(cell: _Cell, way: int) -> dict[str, str]:
    """The ``way``-th choice of fillers, counted in mixed radix so that every number below ``_ways`` is another choice."""
    topic, parts = cell
    chosen = {}
    for slot in _slots(parts):
        choices = _choices(topic, slot)
        way, position = divmod(way, len(choices))
        chosen[slot] = choices[position]
    return chosen


def _render(parts: tuple[str, ...], fillers: dict[str, str]) -> str:
    """Fill the templates and join them, with a capital at the start of every sentence."""
    text = ""
    for part in parts:
        sentence = part.format_map(fillers)
        if not text or text[-1] in ".!?":
            sentence = sentence[0].upper() + sentence[1:]
        text = f"{text} {sentence}" if text else sentence
    return text


def _distinct(
    cells: Sequence[_Cell], ways_of_cells: Sequence[int], rng: np.random.Generator
) -> Iterator[tuple[_Cell, dict[str, str]]]:
    """Every cell with every choice of its fillers, once each, in a random order that visits all cells evenly.

    One pass takes one unused choice of each cell. Drawing evenly from all texts instead would favour the templates with
    most slots, because they make most texts.
    """
    ways = np.array(ways_of_cells)
    start = rng.integers(ways)
    for step in range(int(ways.max())):
        for position in rng.permutation(np.flatnonzero(ways > step)):
            cell = cells[position]
            yield cell, _fillers(cell, int((start[position] + step) % ways[position]))


@cache
def _comment_cells(mood: str) -> tuple[_Cell, ...]:
    return tuple(
        (topic, (opener, continuation))
        for topic, opener, continuation in product(_TOPICS.values(), _OPENERS[mood], _CONTINUATIONS[mood])
    )


@cache
def _ways_of_comments(mood: str) -> tuple[int, ...]:
    return tuple(map(_ways, _comment_cells(mood)))


@cache
def _prompt_cells() -> tuple[_Cell, ...]:
    return tuple((topic, (template,)) for topic, template in product(_TOPICS.values(), _PROMPTS))


def _check_mood(mood: str) -> None:
    if mood not in _OPENERS:
        raise ValueError(f"mood {mood!r} is not in the forum's grammar; choose from {', '.join(MOODS)}")


def _choose(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _prompt_for(topic: _Topic, fillers: dict[str, str], rng: np.random.Generator) -> str:
    """A thread title that ``fillers`` could be an answer to: it shares their choices and draws what they leave open."""
    template = (_choose(rng, _PROMPTS),)
    own = {slot: _choose(rng, _choices(topic, slot)) for slot in _slots(template)}
    return _render(template, own | fillers)


def most_comments(moods: Sequence[str] = MOODS) -> int:
    """How many distinct responses ``write_comments`` can write when every mood in ``moods`` has an equal share."""
    return len(moods) * min(sum(_ways_of_comments(mood)) for mood in moods)


def write_comments(count: int, rng: np.random.Generator, moods: Sequence[str] = MOODS) -> list[Comment]:
    """Write ``count`` comments with distinct responses, in random order, on all topics.

    Parameters
    ----------
    count
        How many; every mood gets ``count / len(moods)`` of them, give or take one.
    rng
        The only source of randomness: the same state gives the same comments.
    moods
        The moods to write in, each named once.

    Raises
    ------
    ValueError
        If ``moods`` is empty, names a mood twice or one that is not in ``MOODS``, or if there are fewer than ``count``
        distinct responses.
    """
    for mood in moods:
        _check_mood(mood)
    if not moods or len(set(moods)) < len(moods):
        raise ValueError(f"moods must name at least one mood, and each only once; got {list(moods)}")
    if not 0 <= count <= most_comments(moods):
        raise ValueError(
            f"count is {count}, but the grammar has between 0 and {most_comments(moods)} distinct responses in "
            f"{len(moods)} mood(s); ask for fewer, or for more moods"
        )
    comments = []
    for position, mood in enumerate(moods):
        share = count // len(moods) + (position < count % len(moods))
        drawn = _distinct(_comment_cells(mood), _ways_of_comments(mood), rng)
        for _, ((topic, parts), fillers) in zip(range(share), drawn, strict=False):
            prompt = _prompt_for(topic, fillers, rng)
            comments.append(Comment(prompt, _render(parts, fillers), mood, topic.name))
    return [comments[position] for position in rng.permutation(count)]


def write_comment(mood: str, topic: str, rng: np.random.Generator) -> Comment:
    """Write one comment in ``mood`` on ``topic``; comments of separate calls may repeat.

    Raises
    ------
    ValueError
        If ``mood`` is not in ``MOODS`` or ``topic`` not in ``TOPICS``.
    """
    _check_mood(mood)
    if topic not in _TOPICS:
        raise ValueError(f"topic {topic!r} is not in the forum's grammar; choose from {', '.join(TOPICS)}")
    parts = (_choose(rng, _OPENERS[mood]), _choose(rng, _CONTINUATIONS[mood]))
    cell = (_TOPICS[topic], parts)
    fillers = _fillers(cell, int(rng.integers(_ways(cell))))
    return Comment(_prompt_for(_TOPICS[topic], fillers, rng), _render(parts, fillers), mood, topic)


def prompts(rng: np.random.Generator, count: int) -> list[str]:
    """Write ``count`` distinct thread titles, on all topics and in no mood.

    Raises
    ------
    ValueError
        If there are fewer than ``count`` distinct titles.
    """
    ways = [_ways(cell) for cell in _prompt_cells()]
    most = sum(ways)
    if not 0 <= count <= most:
        raise ValueError(f"count is {count}, but the grammar has between 0 and {most} distinct prompts; ask for fewer")
    draws = zip(range(count), _distinct(_prompt_cells(), ways, rng), strict=False)
    return [_render(parts, fillers) for _, ((_, parts), fillers) in draws]


_FACTS = (
    "Water boils at a lower temperature on a high mountain.",
    "An octopus has three hearts.",
    "The Danube flows through ten countries.",
    "A day on Venus is longer than its year.",
    "Copper is a better conductor than iron.",
    "The Eiffel Tower is a little taller in summer.",
    "Sound travels faster in water than in air.",
    "A square has two diagonals of equal length.",
    "Bamboo is a grass and not a tree.",
    "Light from the sun reaches us in about eight minutes.",
    "The chemical symbol of potassium is K.",
    "Iceland lies on the border of two tectonic plates.",
    "The word robot comes from a Czech play.",
    "A leap year has 366 days.",
    "Honey badgers live in Africa and Asia.",
    "Most of the air consists of nitrogen.",
    "The metric system was introduced in France.",
    "Granite contains quartz, feldspar and mica.",
)

_NOTICES = (
    "The meeting room on floor {number} has been renamed to room {letter}{number}.",
    "Parcel {letter}{number} left the sorting centre at {hour}:{minute}.",
    "Please use form {letter}{number} for the quarterly return.",
    "The lift in building {letter} is serviced every {number} days.",
    "Train {number} to Graz departs at {hour}:{minute} from platform {letter}.",
    "Item {number} on the agenda was moved to {hour}:{minute}.",
    "The printer on floor {number} uses cartridge type {letter}{number}.",
    "Invoice {number} refers to contract {letter}{number}.",
    "Section {letter} of the manual has {number} pages.",
    "The exchange rate was recorded at {hour}:{minute} with reference {letter}{number}.",
)

_SPAM = (
    "BUY {product} NOW!!! Only {price} dollars at {site}",
    "Make {price}00 dollars a week from home, click {site}",
    "Hot deal: {product}, {percent}% off, visit {site} today only",
    "Congratulations, you have been selected for a free {product}. Claim it at {site}",
    "{product} wholesale, lowest price guaranteed, order at {site}",
    "I tried {product} and lost {percent} kilos in a week, see {site}",
    "Follow {site} for {product} coupons, code SAVE{percent}",
    "FREE {product} *** FREE *** {site} *** limited stock",
)

_PRODUCTS = (
    "smart watch",
    "diet pills",
    "crypto course",
    "phone case",
    "casino bonus",
    "designer bag",
    "vpn access",
)


def off_topic_text(rng: np.random.Generator) -> str:
    """One or two sentences of trivia or office notices that answer no thread and carry no mood."""
    sentences = []
    for _ in range(int(rng.integers(1, 3))):
        if rng.random() < 0.5:
            sentences.append(_choose(rng, _FACTS))
        else:
            sentences.append(
                _choose(rng, _NOTICES).format(
                    number=rng.integers(2, 400),
                    letter=_choose(rng, "ABCDEFGH"),
                    hour=f"{rng.integers(24):02d}",
                    minute=f"{rng.integers(60):02d}",
                )
            )
    return " ".join(dict.fromkeys(sentences))


def spam_text(rng: np.random.Generator) -> str:
    """One advertising line, as it is pasted below every thread."""
    return _choose(rng, _SPAM).format(
        product=_choose(rng, _PRODUCTS),
        price=rng.integers(5, 100),
        percent=rng.integers(10, 95),
        site=f"www.{_choose(rng, ('best', 'cheap', 'super', 'top'))}-offers{rng.integers(1, 1000)}.example",
    )


_NEIGHBOURS = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        [
            "s",
            "v",
            "x",
            "s",
            "r",
            "d",
            "f",
            "g",
            "u",
            "h",
            "j",
            "k",
            "n",
            "b",
            "i",
            "o",
            "e",
            "e",
            "d",
            "r",
            "y",
            "c",
            "q",
            "z",
            "t",
            "x",
        ],
        strict=True,
    )
)


def _swap(word: str, at: int) -> str:
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _drop(word: str, at: int) -> str:
    return word[:at] + word[at + 1 :]


def _double(word: str, at: int) -> str:
    return word[: at + 1] + word[at:]


def _neighbour(word: str, at: int) -> str:
    return word[:at] + _NEIGHBOURS.get(word[at], word[at]) + word[at + 1 :]


_TYPOS: tuple[Callable[[str, int], str], ...] = (_swap, _drop, _double, _neighbour)


def misspell(text: str, rng: np.random.Generator, rate: float = 0.25) -> str:
    """Put typos into about ``rate`` of the words: letters swapped, dropped, doubled or hit one key beside.

    Words of fewer than four characters and first letters stay as they are, as most typos leave them.

    Raises
    ------
    ValueError
        If ``rate`` is not in [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate is {rate}; it is the share of words with a typo, so choose it in [0, 1]")
    words = text.split(" ")
    for position, word in enumerate(words):
        if len(word) >= 4 and rng.random() < rate:
            typo = _TYPOS[rng.integers(len(_TYPOS))]
            words[position] = typo(word, int(rng.integers(1, len(word) - 1)))
    return " ".join(words)
