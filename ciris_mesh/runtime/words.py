"""Five words that stand for a node, to be compared by voice or on paper.

The words are drawn from the same 48 bytes an invite carries, through a function that is slow on
purpose: whoever wants another key and address with the same five words has 2**40 tries ahead, each
of which costs tens of milliseconds and 16 MiB. Not for machines: they compare the fingerprint.
"""

from __future__ import annotations

import hashlib
from typing import Final

WORDS_COUNT: Final = 5

_SALT: Final = b"ciris-mesh/words/v1"
#: 16 MiB and about 50 ms on a laptop, under half a second on a Raspberry Pi: once per comparison.
_SCRYPT_COST: Final = 1 << 14

#: Position = byte value, so the list can never change. Any two differ in three letters or more,
#: in the first four letters, and in their consonants as a bad phone line carries them.
WORD_LIST: Final = tuple(
    """
    acorn adult agent album alley amber anchor angel apple apron artist atlas autumn badge
    bakery balcony bamboo banana banjo barrel basket beacon beaver beetle bonfire bronze brother
    bubble buffalo burger button cabin cactus camel candle canyon captain cargo carpet cedar
    celery cement cheese cherry chicken chimney cinema circus citizen clover cobra coffee
    compass cookie cousin cowboy coyote dagger daisy dentist desert diamond diary dinner domino
    donkey dragon drawer drummer eagle earring echo eclipse editor elbow engine evening fabric
    family farmer feather fiddle flannel flute forest fossil freezer friday galaxy garden garlic
    gazelle geyser giant glacier goblin goose gorilla grape guitar gumball hamster harbor
    harvest helmet highway hobby holiday hornet hotel hunter infant insect invoice island ivory
    jaguar jasmine jelly jester jigsaw journal juggler juniper jury ketchup kidney kingdom
    knuckle ladder lagoon lantern lemon leopard lettuce library lilac lizard llama lobster
    locket lunch machine magnet marble marmot meadow mirror mitten morning muffin museum napkin
    nephew noodle nugget nutmeg nylon oasis object ocean office olive onion opera orbit otter
    oxygen palace pancake panda papaya paper pencil pickle picnic pillow pirate planet plaster
    poet polar potato prairie prison pudding pumpkin puppet puzzle pyramid queen quilt quiver
    rabbit raccoon radio railway raven razor recipe ribbon safari salad salmon sardine scarf
    school scooter secret shampoo sheriff signal silver slipper snail soldier spider sponge
    stadium statue sugar sunset symbol tailor temple tennis tractor traffic trumpet tulip tunnel
    turkey turtle twig ukulele unicorn urchin vacuum vampire village vinegar violin volcano
    voyage vulture waffle walrus wasp weasel whale whisper wolf worker yacht yogurt zodiac
    """.split()  # noqa: SIM905 (256 lines of one word each would help nobody)
)


def words(fingerprint: bytes, address: bytes) -> tuple[str, ...]:
    """The five words of the node with this key fingerprint (32 bytes) and address (16 bytes)."""
    assert len(fingerprint) == 32, "a fingerprint is a SHA-256"
    assert len(address) == 16, "an address is 16 bytes"
    digest = hashlib.scrypt(
        fingerprint + address, salt=_SALT, n=_SCRYPT_COST, r=8, p=1, dklen=WORDS_COUNT
    )
    return tuple(WORD_LIST[byte] for byte in digest)
