"""The primitives of the second reader, in plain Python: XChaCha20-Poly1305, XSalsa20-Poly1305, Ed25519, X25519, SipHash.

For reading test data: nothing here is fast or runs in constant time. BLAKE2b is Python's own; Argon2id comes from outside.
"""
import subprocess
import sys
from array import array
from hashlib import sha512
from struct import pack, unpack


class Refuse(Exception):
    pass


def need(condition, why):
    if not condition:
        raise Refuse(why)


M32 = 0xFFFFFFFF
SIGMA = unpack('<4I', b'expand 32-byte k')


def chacha_rounds(s, mask):
    """Twenty rounds on 16 numbers, each of which holds the words of many blocks in lanes of 64 bits."""
    def quarter(a, b, c, d):
        a1, b1, c1, d1 = s[a], s[b], s[c], s[d]
        for left, right in ((16, 12), (8, 7)):
            a1 = (a1 + b1) & mask
            d1 ^= a1
            d1 = ((d1 << left) | (d1 >> (32 - left))) & mask
            c1 = (c1 + d1) & mask
            b1 ^= c1
            b1 = ((b1 << right) | (b1 >> (32 - right))) & mask
        s[a], s[b], s[c], s[d] = a1, b1, c1, d1
    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)


def chacha20(key, nonce, counter, length):
    n = (length + 63) // 64
    ones = int.from_bytes(b'\1\0\0\0\0\0\0\0' * n, 'little')
    mask = M32 * ones
    start = [w * ones for w in SIGMA + unpack('<8I', key)]
    start.append(int.from_bytes(pack('<%dQ' % n, *range(counter, counter + n)), 'little'))
    start += [w * ones for w in unpack('<3I', nonce)]
    s = start[:]
    chacha_rounds(s, mask)
    out = array('I', bytes(64 * n))
    for i in range(16):
        lanes = array('I', ((s[i] + start[i]) & mask).to_bytes(8 * n, 'little'))
        out[i::16] = lanes[0::2]
    return out.tobytes()[:length]


def hchacha20(key, nonce16):
    s = list(SIGMA + unpack('<8I', key) + unpack('<4I', nonce16))
    chacha_rounds(s, M32)
    return pack('<8I', *s[:4], *s[12:])


def xor(a, b):
    return (int.from_bytes(a, 'little') ^ int.from_bytes(b, 'little')).to_bytes(len(a), 'little')


def poly1305(key, message):
    r = int.from_bytes(key[:16], 'little') & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    acc, p = 0, (1 << 130) - 5
    for i in range(0, len(message), 16):
        acc = (acc + int.from_bytes(message[i:i + 16] + b'\1', 'little')) * r % p
    return ((acc + int.from_bytes(key[16:32], 'little')) & ((1 << 128) - 1)).to_bytes(16, 'little')


def aead_tag(key, nonce, aad, sealed):
    pad = lambda b: b + bytes(-len(b) % 16)
    return poly1305(chacha20(key, nonce, 0, 32), pad(aad) + pad(sealed) + pack('<QQ', len(aad), len(sealed)))


def box_open(key, nonce, aad, sealed, what='a sealed thing'):
    """[xchacha]"""
    need(len(sealed) >= 16, what + ' is too short')
    sealed, tag = sealed[:-16], sealed[-16:]
    key, nonce = hchacha20(key, nonce[:16]), bytes(4) + nonce[16:]
    need(aead_tag(key, nonce, aad, sealed) == tag, what + ' does not verify')
    return xor(sealed, chacha20(key, nonce, 1, len(sealed))) if sealed else b''


def box_seal(key, nonce, aad, plain):
    """The opposite; only for comparing with frozen values."""
    key, nonce = hchacha20(key, nonce[:16]), bytes(4) + nonce[16:]
    sealed = xor(plain, chacha20(key, nonce, 1, len(plain))) if plain else b''
    return sealed + aead_tag(key, nonce, aad, sealed)


def salsa20(key, n16, feed):
    k, n = unpack('<8I', key), unpack('<4I', n16)
    x = [SIGMA[0], *k[:4], SIGMA[1], *n, SIGMA[2], *k[4:], SIGMA[3]]
    start = x[:]
    rounds = [(0, 4, 8, 12), (5, 9, 13, 1), (10, 14, 2, 6), (15, 3, 7, 11), (0, 1, 2, 3), (5, 6, 7, 4), (10, 11, 8, 9), (15, 12, 13, 14)]
    rot = lambda v, b: ((v << b) | (v >> (32 - b))) & M32
    for _ in range(10):
        for a, b, c, d in rounds:
            x[b] ^= rot((x[a] + x[d]) & M32, 7)
            x[c] ^= rot((x[b] + x[a]) & M32, 9)
            x[d] ^= rot((x[c] + x[b]) & M32, 13)
            x[a] ^= rot((x[d] + x[c]) & M32, 18)
    if not feed:
        return pack('<8I', *(x[i] for i in (0, 5, 10, 15, 6, 7, 8, 9)))  # HSalsa20
    return pack('<16I', *((a + b) & M32 for a, b in zip(x, start)))


P = (1 << 255) - 19
L = (1 << 252) + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def x25519(scalar, u):
    k = int.from_bytes(scalar, 'little') & ((1 << 254) - 8) | 1 << 254
    x1 = int.from_bytes(u, 'little') & ((1 << 255) - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in range(254, -1, -1):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a % P, c * b % P, a * a % P, b * b % P
        x3, z3 = pow(da + cb, 2, P), x1 * pow(da - cb, 2, P) % P
        e = aa - bb
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, -1, P) % P if z2 % P else 0).to_bytes(32, 'little')


def add_points(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(n, p):
    q = (0, 1, 1, 0)
    while n:
        if n & 1:
            q = add_points(q, p)
        p = add_points(p, p)
        n >>= 1
    return q


def same_point(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


def decode_point(b):
    y = int.from_bytes(b, 'little')
    sign, y = y >> 255, y & ((1 << 255) - 1)
    need(y < P, 'a point is not canonical')
    xx = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    need((x * x - xx) % P == 0 and (x or not sign), 'bytes that are no point')
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


def encode_point(p):
    z = pow(p[2], -1, P)
    x, y = p[0] * z % P, p[1] * z % P
    return (y | (x & 1) << 255).to_bytes(32, 'little')


BASE = decode_point((4 * pow(5, -1, P) % P).to_bytes(32, 'little'))


def ed25519_public(seed):
    return encode_point(times(int.from_bytes(sha512(seed).digest()[:32], 'little') & ((1 << 254) - 8) | 1 << 254, BASE))


def ed25519_verify(public, message, signature):
    a, r, s = decode_point(public), decode_point(signature[:32]), int.from_bytes(signature[32:], 'little')
    nothing = (0, 1, 1, 0)
    need(s < L and not same_point(times(8, a), nothing) and not same_point(times(8, r), nothing), 'a signature is not canonical')
    h = int.from_bytes(sha512(signature[:32] + public + message).digest(), 'little') % L
    need(same_point(times(s, BASE), add_points(r, times(h, a))), 'a signature is wrong')


def siphash(key, message):
    m64 = (1 << 64) - 1
    k0, k1 = unpack('<QQ', key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    rot = lambda x, b: ((x << b) | (x >> (64 - b))) & m64

    def round_():
        v[0] = (v[0] + v[1]) & m64
        v[2] = (v[2] + v[3]) & m64
        v[1], v[3] = rot(v[1], 13) ^ v[0], rot(v[3], 16) ^ v[2]
        v[0] = (rot(v[0], 32) + v[3]) & m64
        v[2] = (v[2] + v[1]) & m64
        v[1], v[3] = rot(v[1], 17) ^ v[2], rot(v[3], 21) ^ v[0]
        v[2] = rot(v[2], 32)
    padded = message + bytes(7 - len(message) % 8) + bytes([len(message) & 255])
    for w in unpack('<%dQ' % (len(padded) // 8), padded):
        v[3] ^= w
        round_(), round_()
        v[0] ^= w
    v[2] ^= 255
    for _ in range(4):
        round_()
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def argon2id(secret, salt, t, mem):
    """The argon2 program, or libsodium where there is none (or the salt has a NUL, which no argument can hold)."""
    if b'\0' not in salt:
        try:
            return subprocess.run([b'argon2', salt, b'-id', b'-t', b'%d' % t, b'-k', b'%d' % (mem // 1024), b'-p', b'1', b'-l', b'32', b'-r'],
                                  input=secret, capture_output=True, check=True).stdout.strip().decode()
        except FileNotFoundError:
            pass
    import ctypes
    import ctypes.util
    name = ctypes.util.find_library('sodium') or 'libsodium.so.23'
    try:
        lib = ctypes.CDLL(name)
    except OSError:
        print('neither argon2 nor libsodium is here', file=sys.stderr)
        sys.exit(77)
    out = ctypes.create_string_buffer(32)
    lib.sodium_init()
    need(lib.crypto_pwhash(out, ctypes.c_ulonglong(32), secret, ctypes.c_ulonglong(len(secret)), salt, ctypes.c_ulonglong(t),
                           ctypes.c_size_t(mem), 2) == 0, 'Argon2id failed')
    return out.raw.hex()
