"""Short strings that a tokenizer keeps as one token, but that it has hardly ever seen.

A subject is bound to such a token, as to `sks`: one that the text encoder makes little of, so
that nothing has to be unlearnt. Knows tokenizers as their `tokenizer.json` describes them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scumble.errors import FileError

DICTIONARY = Path("/usr/share/dict/words")
"""Where Unix systems keep a list of words, one a line."""

BEGINNINGS = ("\u0120", "\u2581")
"""What stands for the blank before a word: in byte-level BPE, in SentencePiece."""

PHRASE = "a photo of {} person"
NEUTRAL = "a photo of person"
ORDINARY = ("old", "tall", "happy", "blonde")
"""Words whose effect on the phrase is the measure of others'."""


@dataclass(frozen=True, slots=True)
class Word:
    """A string that is one token when blanks stand around it."""

    text: str
    id: int
    rank: int
    """Place in the order from the most to the least frequent."""


@dataclass(frozen=True, slots=True)
class Row:
    """A rare token."""

    token: str
    id: int
    rank: int
    effect: float | None = None
    """How far it moves what the encoder says of a phrase; 1 is as far as an ordinary word."""


def vocabulary(model: Mapping[str, Any]) -> list[Word]:
    """The whole words among the tokens, from the `model` of a tokenizer.json.

    BPE ranks by the merge that makes the token, Unigram by its score. FileError for other kinds.
    """
    match model.get("type"):
        case "BPE":
            return _of_bpe(model)
        case "Unigram":
            return _of_unigram(model["vocab"])
        case other:
            problem = f"of tokenizers of the kind {other} nothing is known about rare tokens"
            raise FileError("tokenizer", problem, "name the folder of a CLIP, T5 or Qwen tokenizer")


def known_words(dictionary: Path = DICTIONARY) -> tuple[frozenset[str], str]:
    """Words that are no rare tokens, in small letters, and where they are from, for people."""
    try:
        listed = dictionary.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return WORDS, f"{len(WORDS):,} words that come with the program"
    words = WORDS | {word.lower() for word in listed}
    return words, f"the words of {dictionary} and {len(WORDS):,} that come with the program"


def found(
    words: Sequence[Word],
    split: Callable[[str], Sequence[int]],
    *,
    known: Collection[str],
    lengths: tuple[int, int] = (2, 4),
    limit: int,
) -> list[Row]:
    """The rarest strings of small ASCII letters that are one token and not a known word.

    `split` gives the token ids of a word between blanks: some tokens are in the vocabulary, but
    are never the outcome.
    """
    rows = []
    for word in sorted(words, key=lambda one: (-one.rank, one.text)):
        if len(rows) == limit:
            break
        plausible = _fits(word.text, lengths) and word.text not in known
        if plausible and list(split(word.text)) == [word.id]:
            rows.append(Row(word.text, word.id, word.rank))
    return rows


def by_effect(rows: Sequence[Row], encode: Callable[[list[str]], np.ndarray]) -> list[Row]:
    """The rows with their effect, those first of which the text encoder makes least.

    `encode` gives one row of features for each text. The effect is how far `PHRASE` with the
    token lies from `NEUTRAL`, over the mean of the same for `ORDINARY` words.
    """
    texts = [NEUTRAL, *map(PHRASE.format, ORDINARY), *(PHRASE.format(row.token) for row in rows)]
    features = np.asarray(encode(texts), dtype=np.float64)
    moved = np.linalg.norm(features[1:] - features[0], axis=1)
    effects = moved[len(ORDINARY) :] / max(float(moved[: len(ORDINARY)].mean()), 1e-12)
    measured = [
        replace(row, effect=float(effect)) for row, effect in zip(rows, effects, strict=True)
    ]
    return sorted(measured, key=lambda row: (row.effect or 0.0, row.token))


def _fits(text: str, lengths: tuple[int, int]) -> bool:
    plain = text.isascii() and text.isalpha() and text.islower()
    return plain and lengths[0] <= len(text) <= lengths[1]


def _of_bpe(model: Mapping[str, Any]) -> list[Word]:
    """Merges are learnt from the most frequent pair on; a token without one is a mere sign."""
    pairs = (pair.split(" ") if type(pair) is str else pair for pair in model["merges"])
    ranks = {"".join(pair): rank for rank, pair in enumerate(pairs, start=1)}
    ending = model.get("end_of_word_suffix") or ""
    return [
        Word(text, id, ranks.get(token, 0))
        for token, id in model["vocab"].items()
        for text in _whole(token, ending)
    ]


def _of_unigram(pieces: Sequence[Sequence[Any]]) -> list[Word]:
    order = sorted(range(len(pieces)), key=lambda id: -float(pieces[id][1]))
    return [
        Word(text, id, rank) for rank, id in enumerate(order) for text in _whole(pieces[id][0], "")
    ]


def _whole(token: str, ending: str) -> Iterator[str]:
    """The word that a token is, without its mark; nothing for parts of words."""
    if ending and token.endswith(ending):
        yield token.removesuffix(ending)
    elif not ending and token.startswith(BEGINNINGS):
        yield token[1:]


_LISTED = """
abby abc able abs ace ache acid acne acre act ad adam add ado aeon afar age aged ago ah ahoy ai aid
aide ail aim air ajar aka akin alan alas ale alex all ally aloe also alto am amen amid ammo amok an
and andy anew ankh anna anne ant ante anti any ape apex app apt arc arch are area aria arid
ark arm army art as asap ash ask asp ass at ate atm atom atop aunt aura auto avid aw away awe awry
ax axe axis axle aye baa babe baby back bad bag bail bait bake bald bale ball balm ban band bane
bang bank bar bard bare bark barn base bash bask bass bat bath bay bbc bbq be bead beak beam bean
bear beat bed bee beef been beep beer beet beg bell belt bend bent best bet beta beth bib bid big
bike bile bill bin bind bio bird bit bite blob bloc blog blot blow blue blur bmw boa boar boat bob
body bog boil bold bolt bomb bond bone bong bony boo book boom boon boot bore born boss both
bout bow bowl box boy bra brad brag bran brat bred brew brim bro brow btw buck bud buff bug bulb
bulk bull bum bump bun bunk buoy burn burp bury bus bush bust busy but butt buy buzz by bye byte cab
cafe cage cake calf call calm cam came camp can cane cap cape car card care carl carp cart case cash
cask cast cat cave cctv cdc cell cent ceo chap char chat chef chew chic chin chip chop chow chum cia
cite city clad clam clan clap claw clay clef clip clog club clue cnn coal coat coax cob cock cod
code cody cog coil coin cola cold colt coma comb come con cone coo cook cool coop cop cope copy cord
core cork corn cost cosy cot coup cove cow cox coy cozy cpr cpu crab cram crap crew crib crop crow
crux cry cub cube cud cue cult cup cur curb cure curl cut cute cyan cyst dab dad dale dam dame damn
damp dan dare dark darn dart dash data date dave dawn day days daze dead deaf deal dean dear debt
deck deed deem deep deer deft defy dell demo den dent deny desk dew dial dice did die diet dig dill
dim dime din dine dip dire dirt disc dish disk diva dive diy dj dna do dock doe does dog doll dome
don done doom door dope dorm dose dot dote dove down doze drab drag draw drew drip drop drug drum
dry dual dub duck duct dud dude due duel dues duet dug duke dull dumb dump dune dung dusk dust duty
dvd dye each ear earl earn ears ease east easy eat ebb echo edge edgy edit eel egg eggs ego eh eke
elf elk ella elm else emit emma emo emu end envy eon epic er era eric erik eu euro eva evan eve even
ever evil ewe ewes ex exam exec exit eye eyed eyes face fact fad fade fail fair fake fall fame fan
fang far fare farm fast fat fate fawn fax faze fbi fck fear feat fed fee feed feel feet fell felt
fen fern feud few fey fifa fig file fill film fin find fine finn fir fire firm fish fist fit five
fix flag flap flat flaw flax flea fled flee flew flex flip flit floe flog flop flow flu flux fly
foal foam foci foe fog foil fold folk fond font food fool foot fop for ford fore fork form fort foul
four fowl fox fray fred free fret fro frog from fry ftw fuel full fume fun fund funk fur fury fuse
fuss fuzz gab gag gait gal gala gale gall game gang gap gary gas gash gasp gate gave gawk gay gaze
gdp gear geek gel gem gene germ get gif gift gig gild gill gilt gin gina girl give glad glee glen
glow glue glum gnat gnaw gnu go goal goat god gold golf gone gong good goof goon gop gory gosh got
gown gps gpu grab gram gray greg grew grey grid grim grin grip grit grow grub gulf gull gulp gum gun
guru gush gust gut guy gym gyp ha hack had hag hail hair hale half hall halo halt ham hand hang hans
hard hare harm harp has hash hat hate haul have hawk hay haze hazy hbo hd he head heal heap hear
heat heed heel heir held hell helm help hem hemp hen her herb herd here hero hers hew hex hey hi hid
hide high hike hill hilt him hind hint hip hire his hiss hit hiv hive ho hoax hob hoe hoes hog hold
hole holy home hone honk hood hoof hook hoop hoot hop hope horn hose host hot hour how howl hq html
http hub hue hug huge hugh hugo huh hulk hull hum hump hung hunk hunt hurl hurt hush husk hut hymn
hype ian ibm ice icon icu icy id idea idle idly idol if igor ilk ill imp in inch info ink inn into
ion iq ire iris irk iron is isle it item its ivan ivy jab jack jade jag jail jake jam jane jap jar
jaw jay jazz jean jeep jeer jeff jerk jess jest jet jig jill jinx jive joan job jobs joe joel joey
jog john join joke jolt jon jose josh jot joy jpg juan judy jug jump junk jury just jut jute
kate keel keen keep keg kelp ken kept key keys kfc kick kid kiln kilo kilt kim kin kind king kiss
kit kite kiwi kkk kkkk klan knee knew knit knob knot know kurt kyle la lab lac lace lack lacy lad
lady lag laid lair lake lamb lame lamp land lane lap lara lard lark lash lass last late lava law
lawn lax lay laze lazy lead leaf leah leak lean leap led lee left leg lend lens lent leo less let
levy lewd lgbt liam liar lice lick lid lie life lift like lily limb lime limo limp line link lint
lion lip lips lisa lisp list lit live liz lmao lo load loaf loan lob lock loft log logo lol lola
lone long look loom loop loot lord lore lose loss lost lot lou loud love low luck lucy lug luis luke
lull lump lung lure lurk lush lust lute lux lye ma mad made maid mail main make male mall malt man
mane many map mar mare mark mars mart mary mash mask mass mast mat mate math matt maw max may maya
maze mba me mead meal mean meat meek meet meld melt memo men mend menu meow mere mesh mess met mew
mgm mia mice mid mike mila mild mile milk mill mime mind mine mini mink mint minx mire miss mist mit
mitt mix mlb mm mma moan moat mob mock mod mode mold mole mom monk mood moon moor moot mop mope more
moss most moth move mow mph mr mri ms mtv much muck mud mug mule mull mum muse mush musk must mute
my myth nab nag nail name nap nape nasa nate nato navy nay nazi nba nbc near neat neck need neil
neon nerd nest net new news newt next nfl nhl nhs nib nice nick nil nina nine nip nips nit no noah
nod node noel none nook noon nor norm nose nosy not note noun nova now nsfw nub nude null numb nun
nut nwa nyc nypd oaf oak oar oat oath obey oboe odd ode odor of off oft ogle ogre oh ohm oil oily ok
okay old olga omar omen omg omit on once one only onto onus onyx ooze opal open opt or oral orb orca
ore our out oven over ow owe owed owen owes owl own owns ox pa pace pack pact pad page paid
pail pain pair pal pale palm pan pane pang pant papa par park part pass past pat path paul pave paw
pawn pay pc pdf pea peak pear peck peek peel peer peg pelt pen pep per perk perm pest pet pete pew
phil php pi pick pie pier pig pike pile pill pin pine ping pink pint pipe pit pity plan play plea
plod plop plot plow ploy plug plum plus ply pm png pod poem poet poke pole poll polo pond pony poo
pool poor pop pope pork port pose posh post posy pot pour pout pox pray prey prim pro prod prom prop
pros prow pry psa pub puck puff pug pull pulp puma pump pun punk puny pup pupa pure pus push put pvc
quay quit quiz race rack raft rag rage raid rail rain rake ram ramp ran rang rank rant rap rape rare
rash rat rate rave raw ray rays raze re read real reap rear red reed reef reek reel rein rely rend
rent rest rev revs rib rice rich rid ride rife rift rig rim rind ring riot rip ripe rise risk rita
rite rna road roam roar rob robe rock rod rode roe rofl role roll romp ron roof room root rope rosa
rose ross rosy rot rove row rpg rub rube ruby rude rue rug ruin rule rum rump run rune rung runt
ruse rush rust rut ruth ryan rye sac sack sad safe sag saga sage said sail sake sale salt sam same
sand sane sang sank sap sara sari sash sat save saw sax say scab scam scan scar sci sea seal
seam sean sear seat sect see seed seek seem seen seep self sell semi send sent set seth sew sewn sex
sh she shed shin ship shoe shoo shop shot show shun shut shy sick side sift sigh sign silk sill silo
silt sin sing sink sip sir sis sit site six size skew ski skid skim skin skip skit sky slab slam
slap slat slay sled slew slid slim slip slit slob slop slot slow slug slum slur sly smog sms smug
snag snap snip snob snow snub snug so soak soap soar sob sock sod soda sofa soft soil sold sole solo
some son song soon soot sore sort sos soul soup sour sow sown soy spa span spar spat spec sped spin
spit spot spud spun spur spy sql ssh stab stag stan star stay stem step stew stir stop stow stub
stud stun sty sub such suds sue suit sulk sum sun sung sunk sup sure surf suv swab swag swam swan
swap swat sway swim swum tab tack taco tact tad tag tail take tale talk tall tame tan tang tank tap
tape tar tara tart task tax taxi tbt tea teak teal team tear teas tech ted tee teem teen tell ten
tend tent term test text than that thaw the thee them then theo they thin this thou thud thug thus
thy tic tick tide tidy tie tied tier tile till tilt tim time tin tina tint tiny tip tire to toad
toby todd toe tog toga toil told toll tom tomb tome ton tone tong tony too took tool toot top tops
tore torn toss tot tote tour tout tow town toy trap tray tree trek trim trio trip trod trot troy
true try tsar tub tube tuck tuft tug tuna tune turf turn tusk tutu tv twig twin twit two type tyre
ufc ufo ufos ugh ugly uh uk um un undo unit unto up upon urge urn us usa usb usda use used user vain
vale vamp van vane vary vase vast vat veal veer veil vein vent vera verb very vest vet veto vex vhs
via vial vice vie view vile vim vine vip visa void volt vote vow vpn vs wad wade waft wag wage wags
wail wait wake walk wall wan wand wane want war ward ware warm warn warp wart wary was wash wasp
wave wavy wax waxy way we weak wear web wed wee weed week weep weld well went wept were west wet
what when whim whip who whom why wick wide wife wifi wig wild will wilt wily wimp win wind wine wing
wink wipe wire wise wish wisp wit with woe wok wolf womb won woo wood wool word wore work worm worn
wow wrap wren writ wry wtf wto wwe wwf www xbox xmas xml yak yam yank yap yard yarn yaw yawn yay ye
yea year yell yelp yen yep yes yet yeti yew yin yo yoga yoke yolk yolo you your yuck yuri zap zeal
zen zero zest zinc zip zoe zone zoo zoom
"""
WORDS = frozenset(_LISTED.split())
"""Common English words, abbreviations, given names and insults of two to four letters."""
