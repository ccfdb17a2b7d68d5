"""Random leaves, by docs/numbers.md and the paper it names (Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC'11)."""

WORD = 0xFFFFFFFF
LONG = 0xFFFFFFFFFFFFFFFF


def philox4x32(counter, key):
    """Ten rounds: four words for a counter of four words and a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (second >> 32) ^ c1 ^ k0, second & WORD, (first >> 32) ^ c3 ^ k1, first & WORD
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return c0, c1, c2, c3


def mixed(x):
    """The finaliser of SplitMix64."""
    x = (x + 0x9E3779B97F4A7C15) & LONG
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & LONG
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & LONG
    return x ^ (x >> 31)


def named(text):
    """FNV-1a of 64 bits."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & LONG
    return value


def draw(seed, site, update, row, element):
    """One number in [0, 1)."""
    key = mixed(mixed(seed & LONG) ^ named(site))
    words = philox4x32((element // 64 * 16 + element % 16, row & WORD, update & WORD, update >> 32), (key & WORD, key >> 32))
    return (words[element // 16 % 4] >> 8) / 2**24
