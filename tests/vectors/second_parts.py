"""What the formats of obscurafs are made of, as the second reader has it: section CRYPTOGRAPHY of obscurafs-format(5), and a tree of files."""
import os
import stat
from hashlib import blake2b, sha512
from struct import pack, unpack

from second_crypto import box_open, ed25519_verify, need, poly1305, salsa20, x25519, xor


class In:
    """Bytes that are taken apart; nothing may be left at the end."""

    def __init__(self, p):
        self.p, self.at = bytes(p), 0

    def raw(self, n):
        need(n <= len(self.p) - self.at, 'cut short')
        self.at += n
        return self.p[self.at - n:self.at]

    u8 = lambda self: self.raw(1)[0]
    u16 = lambda self: unpack('<H', self.raw(2))[0]
    u32 = lambda self: unpack('<I', self.raw(4))[0]
    u64 = lambda self: unpack('<Q', self.raw(8))[0]
    i64 = lambda self: unpack('<q', self.raw(8))[0]
    version = lambda self: (self.u64(), self.u32())

    def var(self, n, most):
        need(n <= most, 'too long')
        return self.raw(n)

    var16 = lambda self, most=65535: self.var(self.u16(), most)
    var32 = lambda self, most: self.var(self.u32(), most)
    left = lambda self: len(self.p) - self.at

    def end(self):
        need(self.at == len(self.p), 'something is left over')


def H(domain, *parts):
    """[hash]"""
    return blake2b(b''.join(parts), digest_size=32, person=domain).digest()


def K(parent, purpose):
    """[kdf] [kdf-purpose]"""
    return blake2b(b'', digest_size=32, key=parent, salt=pack('<QQ', purpose, 0), person=b'obscura1').digest()


def object_open(sealed, kind, key, vault_id, place, epoch=0):
    """[object] [object-aad]"""
    f = In(sealed[:36])
    need(f.raw(4) == b'OBS1' and (f.u8(), f.u8()) == (1, 1) and f.u8() == kind and f.u8() == 0, 'not a sealed object of type %d' % kind)
    need(epoch is None or f.u32() == epoch, 'of another epoch')
    return box_open(key, sealed[12:36], sealed[:36] + vault_id + place.encode(), sealed[36:], 'the object ' + place)


def padme(n, least):
    """[padme]"""
    n = max(n, least)
    if n < 2:
        return n
    e = n.bit_length() - 1
    step = 1 << (e - e.bit_length())
    return (n + step - 1) // step * step


def extent_size(n):
    return n + 16 * ((n + 16383) // 16384)


def extent_open(key, epoch, vault_id, ident, length, sealed):
    """[extent] [extent-key] [extent-nonce] [extent-aad]"""
    need(len(sealed) == extent_size(length), 'an extent is cut short')
    blocks, out = (length + 16383) // 16384, []
    for i in range(blocks):
        part = sealed[i * 16400:(i + 1) * 16400]
        nonce = ident + pack('<Q', i | (1 << 63 if i == blocks - 1 else 0))
        out.append(box_open(K(key, 1), nonce, vault_id + pack('<I', epoch), part, 'an extent'))
    return b''.join(out)


def verify(public, domain, message, signature):
    """[signature]"""
    ed25519_verify(public, H(domain, message), signature)


def sealed_box_open(box_seed, box):
    """[box] [device-keys]"""
    need(len(box) >= 48, 'a box is cut short')
    secret = sha512(box_seed).digest()[:32]
    own = x25519(secret, (9).to_bytes(32, 'little'))
    nonce = blake2b(box[:32] + own, digest_size=24).digest()
    key = salsa20(salsa20(x25519(secret, box[:32]), bytes(16), False), nonce[:16], False)
    tag, sealed = box[32:48], box[48:]
    stream = b''.join(salsa20(key, nonce[16:] + pack('<Q', i), True) for i in range((32 + len(sealed) + 63) // 64))
    need(poly1305(stream[:32], sealed) == tag, 'a box does not verify')
    return xor(sealed, stream[32:32 + len(sealed)])


def times_x(a, n):
    for _ in range(n):
        a <<= 1
        a ^= 0x25 if a & 32 else 0
    return a


def code_parse(text):
    """[vault-code]"""
    digits = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
    chars = [c for c in text.upper().replace('O', '0').replace('I', '1').replace('L', '1') if c not in '- \t\r\n']
    need(len(chars) == 40 and all(c in digits for c in chars), 'the vault code has another form')
    v = [digits.index(c) for c in chars]
    number = 0
    for g in range(8):
        c = v[5 * g:5 * g + 5]
        need(c[4] == (g + 1) ^ times_x(c[0], 1) ^ times_x(c[1], 2) ^ times_x(c[2], 3) ^ times_x(c[3], 4), 'group %d is wrong' % (g + 1))
        for five in c[:4]:
            number = number << 5 | five
    return number.to_bytes(20, 'big')


def code_key(code, vault_id):
    """[code-key]"""
    return K(blake2b(vault_id, digest_size=32, key=code, person=b'obscura.code').digest(), 32)


def device_tag(sign_key):
    tag = unpack('<I', H(b'obs-tag', sign_key)[:4])[0] % (1 << 23)
    return tag if 0 < tag < (1 << 23) - 1 else 1


def get_epochs(f):
    epochs = {}
    for _ in range(f.u16()):
        epoch = f.u32()
        need(epoch > max(epochs, default=0), 'epochs do not ascend')
        epochs[epoch] = f.raw(32)
    need(1 <= len(epochs) <= 64, 'a wrong number of epochs')
    return epochs


class Inode:
    def __init__(self, mode=0):
        self.mode, self.uid, self.gid, self.rdev, self.size, self.nlink = mode, 0, 0, 0, 0, 0
        self.atime = self.mtime = self.ctime = self.btime = 0
        self.target, self.xattrs, self.rows = b'', {}, []  # rows: (off, len, extent, offset in it), ascending
        self.cv = (0, 0)

    def punch(self, off, end):
        kept = []
        for o, n, ext, eoff in self.rows:
            if o < off:
                kept.append((o, min(n, off - o), ext, eoff))
            if o + n > end:
                at = max(o, end)
                kept.append((at, o + n - at, ext, eoff + at - o))
        self.rows = kept

    def map(self, off, length, ext, eoff):
        self.punch(off, off + length)
        self.rows = sorted(self.rows + [(off, length, ext, eoff)], key=lambda row: row[0])


class Tree:
    def __init__(self):
        self.inodes, self.names = {}, {}  # names: (parent, name) -> ino

    def write(self, out, read_extent):
        """read_extent(extent) gives the plaintext."""
        done, below = {}, {}
        for (parent, name), ino in self.names.items():
            below.setdefault(parent, []).append((name, ino))
        os.mkdir(out)

        def node(path, ino):
            inode = self.inodes[ino]
            if ino in done and not stat.S_ISDIR(inode.mode):
                return os.link(done[ino], path, follow_symlinks=False)
            need(ino not in done, 'a folder has two names')
            done[ino] = path
            if stat.S_ISDIR(inode.mode):
                if ino != 1:
                    os.mkdir(path)
                for name, child in below.get(ino, []):
                    node(path + b'/' + name, child)
            elif stat.S_ISLNK(inode.mode):
                os.symlink(inode.target, path)
            elif stat.S_ISREG(inode.mode):
                with open(path, 'wb') as f:
                    for off, length, ext, eoff in inode.rows:
                        f.seek(off)
                        f.write(read_extent(ext)[eoff:eoff + length])
                    f.truncate(inode.size)
            else:
                os.mknod(path, stat.S_IFMT(inode.mode) | 0o600, inode.rdev)
            for name, value in inode.xattrs.items():
                os.setxattr(path, name, value, follow_symlinks=False)
            if os.geteuid() == 0:
                os.chown(path, inode.uid, inode.gid, follow_symlinks=False)
            if not stat.S_ISLNK(inode.mode):
                os.chmod(path, inode.mode & 0o7777)
            os.utime(path, ns=(inode.atime, inode.mtime), follow_symlinks=False)
        node(os.fsencode(out), 1)
