"""Words and phrases by what they do in a text.

English, lower case, with straight apostrophes. Within a lexicon no entry is part of another, so
that nothing is counted twice.
"""

from dataclasses import dataclass
from itertools import product

from inverse_rlhf.features.words import Reading


@dataclass(frozen=True)
class Lexicon:
    """Words and phrases that are counted together.

    Attributes:
        words: single words.
        phrases: phrases of two words or more by their first word, as `Reading.spaced` has them:
            punctuation between the words does not matter.
    """

    words: frozenset[str]
    phrases: dict[str, list[str]]

    def count(self, read: Reading) -> int:
        """How often any of them occurs."""
        found = sum(read.counts[word] for word in self.words & read.distinct)
        for first in self.phrases.keys() & read.distinct:  # few phrases are looked for at all
            found += sum(map(read.spaced.count, self.phrases[first]))
        return found

    def opens(self, read: Reading) -> bool:
        """Whether any of them opens the text."""
        first = "".join(read.lower[:1])
        return first in self.words or read.spaced.startswith(tuple(self.phrases.get(first, ())))


def _lexicon(words: str = "", *phrases: str) -> Lexicon:
    """Words between spaces, phrases between bars."""
    by_first: dict[str, list[str]] = {}
    for phrase in dict.fromkeys("|".join(phrases).split("|") if phrases else ()):
        parts = phrase.split()
        by_first.setdefault(parts[0], []).append(f" {'  '.join(parts)} ")
    return Lexicon(frozenset(words.split()), by_first)


def _each(*parts: str) -> str:
    """Every phrase of one alternative a part."""
    return "|".join(" ".join(chosen) for chosen in product(*(part.split("|") for part in parts)))


_DENIED = _each(
    "is|are|was|were|do|does|did|have|has|had|wo|ca|would|could|should|must|might", "n't"
)
NOT = " ".join(word.replace(" ", "") for word in _DENIED.split("|")) + " ain't shan't needn't"
_SHORT = _each("i|you|he|she|it|we|they|that|there|who|what|here|how|where", "'m|'s|'re|'ve|'ll|'d")
CONTRACTIONS = _lexicon(f"{NOT} let's {' '.join(_SHORT.replace(' ', '').split('|'))}")
NEGATIONS = _lexicon(f"{NOT} not no never none nobody nothing nowhere neither nor cannot without")

STOPWORDS = _lexicon(
    "a an the this that these those and or but nor if then than as at by for from in into of off "
    "on onto out over to up with about after before between through during under above below "
    "again against down until while i me my we our ours you your yours he him his she her hers it "
    "its they them their theirs who whom whose which what when where why how am is are was were "
    "be been being do does did doing done have has had having will would shall should can could "
    "may might must not no so too very just also only own same such both each few more most other "
    "some any all there here because once further it's i'm i've i'd i'll you're you've you'll "
    "we're they're that's there's don't doesn't didn't isn't aren't wasn't won't can't cannot let "
    "us"
)
FIRST_PERSON = _lexicon("i me my mine myself i'm i've i'll i'd")
SECOND_PERSON = _lexicon("you your yours yourself yourselves you're you've you'll you'd")
# Without "us", which is also a country.
WE = _lexicon("we our ours ourselves we're we've we'll we'd let's")
THIRD_PERSON = _lexicon(
    "he him his himself she her hers herself they them their theirs themselves he's he'd he'll "
    "she's she'd she'll they're they've they'd they'll"
)
HEDGES = _lexicon(
    "may might maybe perhaps possibly probably likely unlikely seem seems seemed seemingly "
    "appears apparently arguably presumably supposedly somewhat roughly approximately generally "
    "usually typically often sometimes occasionally mostly partly fairly potentially conceivably "
    "tentatively uncertain unclear unsure",
    "it depends|to some extent|in some cases|in many cases|more or less|kind of|sort of|not sure",
    "not certain|not necessarily|tend to|tends to",
)
CERTAINTY = _lexicon(
    "certainly definitely surely undoubtedly undeniably unquestionably indisputably indeed "
    "clearly obviously evidently absolutely always  guaranteed "
    "inevitably invariably proven exactly",
    "of course|no doubt|without doubt|beyond doubt|for sure|without question",
)
INTENSIFIERS = _lexicon(
    "very really extremely incredibly highly totally completely utterly deeply greatly remarkably "
    "exceptionally particularly especially truly quite super awfully terribly enormously "
    "immensely thoroughly entirely vastly strongly insanely amazingly hugely intensely"
)
OPINIONS = _lexicon(
    "personally imo imho",
    _each("i", "think|believe|feel|guess|suppose|reckon|find|prefer|doubt|would say|would argue"),
    _each("in my|to my", "opinion|view|mind|experience|eyes"),
)
DIRECTIVES = _lexicon(
    "should must ought shouldn't mustn't ensure needs",
    "need to|have to|has to|make sure|be sure to|remember to|try to|try not to|do not|don't forget",
    "it is important|it's important|it is essential|it's essential",
)
WARNINGS = _lexicon(
    "dangerous danger dangers hazard hazards hazardous harmful harm unsafe risk risks risky "
    "illegal unlawful unethical caution cautious warning warnings beware toxic lethal fatal "
    "prohibited",
    "be careful|be aware|be mindful|against the law|do not attempt|seek help|healthcare provider",
    _each("consult|consult with|see|contact|talk to", "a|your|an", "doctor|lawyer|professional"),
    _each("qualified|medical|mental health|healthcare|legal|licensed", "professional"),
    _each("legal|medical|professional", "advice|help"),
)
REFUSAL = _lexicon(
    "",
    _each(
        "i can't|i cannot|i can not|i won't|i will not",
        "assist|help|provide|fulfill|comply|support|generate|create|write|answer|engage|offer|give|"
        "tell|do|discuss|share|recommend|condone|encourage|participate|continue|access|in good",
    ),
    _each(
        "i'm|i am",
        "unable to|not able to|not comfortable|not allowed|not permitted|not programmed|"
        "not capable|not qualified|not going to|not willing",
    ),
    _each("i don't|i do not", "feel comfortable|have access|have the ability|have enough"),
    "i must decline|i have to decline|i must refuse|i refuse|i'd rather not|i would rather not",
    "not appropriate for me|against my programming|against my guidelines",
)
APOLOGY = _lexicon(
    "sorry apologize apologise apologies apology apologizing apologising regret pardon",
    "forgive me|excuse me|my mistake|my bad|my fault",
)
POLITENESS = _lexicon(
    "please thank thanks kindly grateful gratitude thankful appreciate appreciated",
    "would you mind|could you|if you wish|my pleasure|with pleasure|you're welcome|you are welcome",
)
OFFERS_OF_HELP = _lexicon(
    "",
    "let me know|feel free|don't hesitate|do not hesitate|need further assistance",
    "is there anything|i hope this helps|hope that helps|would you like me to|do you want me to",
    _each("happy|glad|here|love|ready", "to", "help|assist|answer"),
    _each("can i|may i", "help|assist|be of"),
    _each("you have", "any", "other|further|more|additional|questions"),
)
EMPATHY = _lexicon(
    "empathize empathise sympathize sympathise condolences understandable",
    _each("i|i can|i completely|i totally", "understand|imagine|relate|hear you"),
    "i can only imagine",
    _each("sorry", "to hear|for your|you're|you are|that you"),
    _each("must be|must have been|sounds|sounds like", "hard|tough|difficult|frustrating|painful"),
    _each("you're not|you are not", "alone"),
    _each("it's|it is", "okay to|ok to|normal to|natural to"),
    "your feelings|here for you|how you feel|my heart goes|be kind to yourself",
)
FLATTERY = _lexicon(
    "congratulations congrats kudos bravo",
    _each(
        "great|good|excellent|interesting|fantastic|wonderful|fascinating|brilliant|thoughtful",
        "question|point|idea|choice|thinking|observation",
    ),
    _each("you're|you are", "right|absolutely right|so right|correct|absolutely correct|amazing"),
    _each("great|good|nice|excellent", "job|work"),
    "well done|good for you",
)
GREETINGS = _lexicon(
    "hello hi hey greetings dear welcome howdy goodbye bye cheers sincerely regards",
    _each("good", "morning|afternoon|evening|day|night"),
    "take care|see you|nice to meet|have a great|have a nice|best wishes",
)
AI_SELF_REFERENCE = _lexicon(
    "",
    _each("i'm|i am|as|i'm just|i am just|i'm only", "a|an", "ai|bot|machine|computer|virtual"),
    "language model|ai assistant|my training|my programming|i was trained|i was programmed",
    _each("i don't|i do not", "have personal|have feelings|have opinions|have emotions"),
)
AGREEMENT = _lexicon(
    "sure certainly absolutely definitely yes yeah yep ok okay alright",
    "of course|no problem|happy to|glad to|with pleasure|you bet",
)

ADDITIONS = _lexicon(
    "also additionally furthermore moreover besides likewise similarly another",
    "in addition|as well|not only|on top of|what's more|along with",
)
CONTRASTS = _lexicon(
    "but however although though whereas nevertheless nonetheless despite instead conversely yet "
    "unlike otherwise still",
    "on the other hand|in contrast|by contrast|even if|even so|in spite of|rather than",
)
CAUSES = _lexicon(
    "because therefore thus hence consequently accordingly thereby",
    "as a result|due to|leads to|lead to|led to|so that|owing to|thanks to|in order to",
    "for this reason|that is why|that's why|which means|results in|result in|caused by",
)
EXAMPLES = _lexicon(
    "eg namely including",
    "for example|for instance|such as|e g|an example|examples of|examples include|to illustrate",
)
SEQUENCE = _lexicon(
    "first firstly second secondly third thirdly next then finally lastly afterwards afterward "
    "subsequently meanwhile step",
    "to begin with|to start with|after that|in the end",
)
CONCLUSIONS = _lexicon(
    "overall conclusion concluding ultimately altogether",
    "in summary|in short|in brief|in essence|to summarize|to summarise|to sum up|to conclude",
    "all in all|to wrap up|on the whole|key takeaways|the bottom line",
)

POSITIVE = _lexicon(
    "good great excellent wonderful amazing awesome fantastic beautiful lovely nice perfect best "
    "better love loved loves loving enjoy enjoyed enjoyable enjoying happy happiness happily joy "
    "joyful glad delight delighted delightful pleased pleasant pleasure fun exciting excited "
    "impressive brilliant outstanding superb remarkable incredible magnificent marvelous charming "
    "elegant graceful gorgeous stunning valuable helpful useful beneficial benefit benefits "
    "effective successful success succeed win winning positive positively friendly kindness warm "
    "warmth gentle generous caring thoughtful clever smart wise talented skilled strong safe "
    "healthy comfortable easy fresh bright hope hopeful inspiring inspired inspire creative "
    "innovative unique rich vibrant delicious favorite favourite popular proud trust trusted "
    "reliable honest fair peaceful peace calm relaxing satisfying satisfied improve improved "
    "improves improvement achieve achieved achievement advantage advantages supportive encourage "
    "encouraging celebrate celebrated treasure gem expert genius sensible careful admire admired"
)
NEGATIVE = _lexicon(
    "bad worse worst terrible horrible awful poor poorly wrong fail fails failed failing failure "
    "failures problem problems problematic difficult difficulty difficulties hate hated hates "
    "hateful sad sadness sadly unhappy miserable misery depressed depressing depression angry "
    "anger furious rage annoyed annoying annoyance upset upsetting hurt hurts hurtful pain "
    "painful suffer suffered suffering afraid fear fears scared scary terrified terrifying worry "
    "worried worries anxious anxiety stress stressful tired exhausted lonely loneliness lost lose "
    "losing loss damage damaged destroy destroyed destruction ruin ruined break broken kill "
    "killed killing death dead die died dying murder violent violence attack attacked enemy crime "
    "criminal victim abuse abused cruel cruelty evil wicked nasty ugly rude harsh bitter hostile "
    "threat threaten threatened threatening unfair unjust guilty guilt shame ashamed blame "
    "negative negatively boring dull weak hopeless pointless waste wasted mistake mistakes error "
    "errors mess messy dirty disaster tragedy tragic crisis struggle struggled struggling "
    "conflict disappointed disappointing disappointment frustrated frustrating frustration reject "
    "rejected lack lacking confused confusing doubtful suspicious"
)
INSULTS = _lexicon(
    # people
    "idiot idiots idiotic moron morons moronic imbecile imbeciles fool fools foolish stupid "
    "stupidity dumb dumbass dimwit halfwit nitwit blockhead dunce simpleton clown clowns buffoon "
    "loser losers coward cowards cowardly liar liars fraud frauds hypocrite hypocrites jerk jerks "
    "creep creeps pervert weirdo freak freaks psycho scum scumbag vermin parasite parasites pest "
    "pests pigs swine cretin cretins troll trolls bully crook crooks thug "
    "thugs savage savages degenerate degenerates brainless braindead retard retards retarded "
    "bastard bastards bitch bitches bitching whore whores slut sluts skank cunt cunts twat "
    "wanker wankers prick pricks dick dicks dickhead dickheads asshole assholes arsehole jackass "
    "douche douchebag faggot faggots fag fags nazi nazis tosser sucker suckers nutjob lunatic "
    # things
    "pathetic ridiculous disgusting disgrace disgraceful contemptible despicable repulsive vile "
    "filthy filth trash garbage rubbish nonsense crap crappy bullshit horseshit shit shits shitty "
    "shitting piss pissed damn damned dammit goddamn hell bloody fuck fucks fucked fucker fuckers "
    "fucking motherfucker motherfuckers fuckin ass arse sucks suck wtf stfu lame laughable "
    "ignorant worthless clueless useless lazy",
    "shut up|get lost|drop dead|screw you",
)
