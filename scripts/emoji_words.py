"""What a picture of an emoji shows, in words, from the name that Unicode gave it.

Unicode's names are labels: no articles, "BLACK" for filled, "SIGN" for a thing. Rules put most
of them right; `REWORDED` lists those that would still read badly or mislead about the picture.
"""

import re

REWORDED = {
    "ADMISSION TICKETS": "two admission tickets",
    "AIRPLANE ARRIVING": "an airplane landing",
    "AIRPLANE DEPARTURE": "an airplane taking off",
    "ANGER SYMBOL": "a red comic mark of anger",
    "BANKNOTE WITH DOLLAR SIGN": "a bundle of dollar banknotes",
    "BANKNOTE WITH EURO SIGN": "a bundle of euro banknotes",
    "BANKNOTE WITH POUND SIGN": "a bundle of pound banknotes",
    "BANKNOTE WITH YEN SIGN": "a bundle of yen banknotes",
    "BASKETBALL AND HOOP": "a basketball",
    "BATH": "a person taking a bath",
    "BELL WITH CANCELLATION STROKE": "a bell crossed out",
    "BILLIARDS": "a black billiard ball with an eight",
    "BLACK CLUB SUIT": "a club from a deck of cards",
    "BLACK DIAMOND SUIT": "a diamond from a deck of cards",
    "BLACK HEART SUIT": "a heart from a deck of cards",
    "BLACK NIB": "a pen nib",
    "BLACK SPADE SUIT": "a spade from a deck of cards",
    "BLACK SUN WITH RAYS": "a sun with rays",
    "BOWLING": "a bowling ball and pins",
    "BREAD": "a loaf of bread",
    "BREAST-FEEDING": "a woman breast-feeding a baby",
    "BRICK": "a stack of bricks",
    "BRIDGE AT NIGHT": "a bridge at night",
    "BUILDING CONSTRUCTION": "a building under construction",
    "BUTTER": "a piece of butter",
    "CALL ME HAND": "a hand making a call me gesture",
    "CAMPING": "a tent at a camping site",
    "CANNED FOOD": "a can of food",
    "CHART WITH UPWARDS TREND AND YEN SIGN": "a rising chart with a yen sign",
    "CLAPPING HANDS SIGN": "two hands clapping",
    "COLLISION SYMBOL": "a comic burst of a collision",
    "CONSTRUCTION SIGN": "a striped construction barrier",
    "COOKED RICE": "a bowl of cooked rice",
    "COOKING": "a fried egg in a pan",
    "CURRY AND RICE": "a plate of curry and rice",
    "DANCER": "a woman dancing",
    "DASH SYMBOL": "a puff of air",
    "DIRECT HIT": "a dartboard hit in the middle",
    "DIZZY SYMBOL": "a circling star of dizziness",
    "DROPLET": "a drop of water",
    "EARTH GLOBE AMERICAS": "a globe showing the americas",
    "EARTH GLOBE ASIA-AUSTRALIA": "a globe showing asia and australia",
    "EARTH GLOBE EUROPE-AFRICA": "a globe showing europe and africa",
    "ENVELOPE WITH DOWNWARDS ARROW ABOVE": "an envelope with an arrow above",
    "EXTRATERRESTRIAL ALIEN": "an alien",
    "EYES": "a pair of eyes",
    "FACE PALM": "a person facepalming",
    "FACE WITH OPEN EYES AND HAND OVER MOUTH": "a face with open eyes and a hand over its mouth",
    "FACE WITH OPEN MOUTH VOMITING": "a face vomiting",
    "FISTED HAND SIGN": "a fist seen from the front",
    "FLOWER PLAYING CARDS": "a flower playing card",
    "FOGGY": "a city in fog",
    "FORK AND KNIFE WITH PLATE": "a plate with a fork and a knife",
    "HAND WITH FINGERS SPLAYED": "a hand with splayed fingers",
    "HAND WITH INDEX AND MIDDLE FINGERS CROSSED": "a hand with crossed fingers",
    "HANDBALL": "a person playing handball",
    "HEART DECORATION": "a white heart in a pink square",
    "HEART EXCLAMATION": "a heart exclamation mark",
    "HEAVY BLACK HEART": "a red heart",
    "HIGH VOLTAGE SIGN": "a yellow lightning bolt",
    "HOCHO": "a kitchen knife",
    "HORSE RACING": "a jockey on a racing horse",
    "HOT SPRINGS": "a steaming hot spring",
    "HOUSE BUILDING": "a house",
    "HUNDRED POINTS SYMBOL": "a red number hundred, underlined twice",
    "I LOVE YOU HAND SIGN": "a hand making an i love you sign",
    "INDEX POINTING AT THE VIEWER": "a hand pointing at the viewer",
    "JUGGLING": "a person juggling",
    "KAABA": "the kaaba",
    "LEAF FLUTTERING IN WIND": "leaves fluttering in the wind",
    "LINK SYMBOL": "two links of a chain",
    "LUGGAGE": "a suitcase",
    "MAHJONG TILE RED DRAGON": "a mahjong tile with a red dragon",
    "MAN WITH GUA PI MAO": "a man with a gua pi mao cap",
    "MEAT ON BONE": "meat on a bone",
    "MEN WITH BUNNY EARS": "two men with bunny ears",
    "MEN WRESTLING": "two men wrestling",
    "MILKY WAY": "the milky way",
    "MOBILE PHONE WITH RIGHTWARDS ARROW AT LEFT": "a mobile phone with an arrow pointing at it",
    "MONEY WITH WINGS": "banknotes with wings",
    "MOON VIEWING CEREMONY": "rice dumplings and grass under a full moon",
    "MX CLAUS": "a person dressed as santa claus",
    "OCTAGONAL SIGN": "a red octagonal stop sign",
    "PALM DOWN HAND": "a hand with its palm down",
    "PALM UP HAND": "a hand with its palm up",
    "PALMS UP TOGETHER": "two palms up together",
    "PERFORMING ARTS": "a comedy mask and a tragedy mask",
    "PERSON RAISING BOTH HANDS IN CELEBRATION": "two hands raised in celebration",
    "PERSON WITH FOLDED HANDS": "two hands folded together",
    "PISTOL": "a toy water pistol",
    "PLAYING CARD BLACK JOKER": "a joker playing card",
    "POLICE CARS REVOLVING LIGHT": "a red revolving police light",
    "POURING LIQUID": "liquid pouring from a glass",
    "RAISED BACK OF HAND": "the back of a raised hand",
    "RAISED HAND WITH PART BETWEEN MIDDLE AND RING FINGERS": "a hand making a vulcan salute",
    "REVERSED HAND WITH MIDDLE FINGER EXTENDED": "a hand with its middle finger raised",
    "REVOLVING HEARTS": "two revolving hearts",
    "ROLLING ON THE FLOOR LAUGHING": "a face rolling on the floor laughing",
    "SEAT": "an airplane seat",
    "SERIOUS FACE WITH SYMBOLS COVERING MOUTH": "a face with symbols covering its mouth",
    "SHRUG": "a person shrugging",
    "SIGN OF THE HORNS": "a hand making the sign of the horns",
    "SILHOUETTE OF JAPAN": "a map of japan",
    "SLEEPING ACCOMMODATION": "a person sleeping in a bed",
    "SLEEPING SYMBOL": "three letters z for sleep",
    "SMILING FACE WITH SMILING EYES AND HAND COVERING MOUTH": (
        "a smiling face with a hand over its mouth"
    ),
    "SMOKING SYMBOL": "a burning cigarette",
    "SPEAKER WITH CANCELLATION STROKE": "a speaker crossed out",
    "SPLASHING SWEAT SYMBOL": "splashing drops of sweat",
    "STATUE OF LIBERTY": "the statue of liberty",
    "SUNSET OVER BUILDINGS": "a sunset over buildings",
    "THUMBS DOWN SIGN": "a hand with its thumb down",
    "THUMBS UP SIGN": "a hand with its thumb up",
    "TOKYO TOWER": "the tokyo tower",
    "UMBRELLA ON GROUND": "an umbrella on the ground",
    "WATER POLO": "a person playing water polo",
    "WEDDING": "a wedding chapel",
    "WHITE DOWN POINTING BACKHAND INDEX": "the back of a hand pointing down",
    "WHITE LEFT POINTING BACKHAND INDEX": "the back of a hand pointing left",
    "WHITE MEDIUM STAR": "a yellow star",
    "WHITE RIGHT POINTING BACKHAND INDEX": "the back of a hand pointing right",
    "WHITE UP POINTING BACKHAND INDEX": "the back of a hand pointing up",
    "WHITE UP POINTING INDEX": "the front of a hand pointing up",
    "WIND FACE": "a cloud with a face, blowing",
    "WOMANS BOOTS": "a woman's boot",
    "WOMANS CLOTHES": "a woman's blouse",
    "WOMEN WITH BUNNY EARS": "two women with bunny ears",
    "WOMEN WRESTLING": "two women wrestling",
    "WOOD": "a log of wood",
    "WRESTLERS": "two people wrestling",
}

NO_ARTICLE = (
    "bacon bread broccoli butter coral cream curry custard dango fear fire fog food fuji garlic "
    "hair ice japan lightning oden polish popcorn rain rice sand snow spaghetti sushi sweat tea"
)
"""Nouns that take no article though they have no plural s: substances and names."""

ONE_IN_S = (
    "abacus bus cactus compass dress glass hibiscus hippopotamus hourglass kiss lotus minibus "
    "octopus princess rhinoceros trolleybus"
)
"""Singular nouns that look like plurals."""

COUNTED = ("one ", "two ", "three ", "the ", "both ", "a ", "an ")
JOINT = re.compile(r" (with|and|in|on|over|behind|without) ")
RULES = (
    (r"\u2019", "'"),
    (r" symbol$| sign$", ""),
    (r"\b(wo)?mans ", r"\1man's "),
    (r"^(black|white) (?=scissors|smiling|telephone)", ""),
    (r"^(man|woman|person): (\w+ hair|beard)$", r"\1 with \2"),
    (r"^(man|woman|person): bald$", r"bald \1"),
    (r"^man (?!with |in |.*ing\b)", "male "),
    (r"^woman (?!with |in |.*ing\b)", "female "),
    (r"^clock face (\S+) oclock$", r"clock showing \1 o'clock"),
    (r"^clock face (\S+)-thirty$", r"clock showing half past \1"),
    (r"\b(bouncing|doing|feeding|getting|raising|rowing|tipping|wearing) ", r"\1 a "),
    (r"wards (hand|pushing)", r"ward \1"),
    (r"racquet", "racket"),
)


def words(name: str) -> str:
    """`RED APPLE` to `a red apple`, `FACE WITH MONOCLE` to `a face with a monocle`."""
    if name in REWORDED:
        return REWORDED[name]
    plain = name.lower()
    for pattern, instead in RULES:
        plain = re.sub(pattern, instead, plain)
    parts = JOINT.split(plain)
    things = [with_article(thing) for thing in parts[::2]]
    joints = ["", *(f" {joint} " for joint in parts[1::2])]
    return "".join(part for pair in zip(joints, things, strict=True) for part in pair)


def with_article(thing: str) -> str:
    """The thing with `a` or `an`, where its main noun asks for one."""
    if thing.startswith(COUNTED):
        return thing
    noun = re.split(r" of | (?=\w+ing\b)", thing)[0].split()[-1]
    many = noun.endswith("s") and noun not in ONE_IN_S.split()
    if many or noun in NO_ARTICLE.split():
        return thing
    consonant = re.match(r"uni|euro|one|[^aeiou]", thing) and not re.match(r"hour|x-", thing)
    return f"a {thing}" if consonant else f"an {thing}"
