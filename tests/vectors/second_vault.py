"""Section THE VAULT ON A DEVICE of obscurafs-format(5), as the second reader has it."""
import os
import sqlite3
import stat
import tempfile
from hashlib import blake2b
from struct import pack, unpack

from second_crypto import Refuse, argon2id, box_open, ed25519_public, need, siphash
from second_parts import K, In, Inode, Tree, device_tag, extent_open, extent_size, get_epochs, object_open, sealed_box_open, verify
from second_store import Batch, Packs, Roster, Store, name_ok


def slot_open(slot, number, vault_id, secret):
    """[slot] [slot-key] [slot-commitment] [slot-policy]"""
    f = In(slot)
    need(len(slot) == 256 and f.raw(8) == b'OBSSLOT1' and f.u8() in (1, 2) and f.u8() == 1 and f.u16() == number, 'no slot')
    t, mem, salt = f.u32(), f.u64(), f.raw(16)
    need(3 <= t <= 16 and 64 << 20 <= mem <= 2 << 30, 'the costs of the slot are out of bounds')
    need(f.raw(32) == vault_id, 'a slot of another vault')
    key = bytes.fromhex(argon2id(secret, salt, t, mem))
    need(blake2b(slot[:72], digest_size=32, key=K(key, 34)).digest() == slot[72:104], 'wrong passphrase')
    return box_open(K(key, 33), slot[104:128], slot[:104], slot[128:176], 'the slot')


def keyring_open(sealed, device_key, vault_id):
    """[keyring]"""
    f = In(object_open(sealed, 1, K(device_key, 19), vault_id, 'keyring'))
    need(f.u16() == 1, 'a keyring of another version')
    k = {'sign_seed': f.raw(32), 'box_seed': f.raw(32), 'tag': f.u32(), 'epochs': get_epochs(f), 'recovery': f.var32(4096),
         'genesis': f.var32(2048), 'name': f.var16(64).decode()}
    f.end()
    return k


class Segments:
    """[segment] [segment-head] [segment-extent] [segment-note] [segment-end]"""

    def __init__(self, directory, device_key, vault_id, tag):
        self.dir, self.key, self.aad = os.path.join(directory, 'seg'), K(device_key, 17), vault_id + pack('<I', tag)
        self.counts = {1: 0, 2: 0, 3: 0}

    def file(self, seg):
        try:
            with open(os.path.join(self.dir, '%016x' % seg), 'rb') as f:
                return f.read()
        except FileNotFoundError:
            return b''

    def head(self, p, seg, off):
        f = In(box_open(self.key, p[off:off + 24], self.aad, p[off + 24:off + 64], 'a head'))
        kind, flags, zero, length = f.u8(), f.u8(), f.u16(), f.u32()
        need((f.u64(), f.u64()) == (seg, off) and zero == 0 and kind in (1, 2, 3), 'a head of another place')
        need(flags in (0, 1) and not (flags and off) and off + 64 + length <= len(p), 'a wrong head')
        need(17 <= length <= extent_size(1 << 20) if kind == 1 else 41 <= length <= 40 + (8 << 20) if kind == 2 else length == 0, 'a wrong length')
        return kind, flags, length

    def scan(self, seg, off):
        """Yields (kind, segment, offset of the payload, the note or None), to the end of the log."""
        first, ended = True, 0
        for number in sorted(int(n, 16) for n in os.listdir(self.dir) if len(n) == 16):
            if number < seg:
                continue
            p, at = self.file(number), off if number == seg else 0
            follows = (ended and number == ended + 1) or (first and seg in (0, number))
            first, ended = False, 0
            while True:
                try:
                    kind, flags, length = self.head(p, number, at)
                    need(at or follows or flags, 'a file that does not follow')
                    payload = p[at + 64:at + 64 + length]
                    note = box_open(self.key, payload[:24], self.aad + p[at:at + 64], payload[24:], 'a note') if kind == 2 else None
                except Refuse:
                    break
                self.counts[kind] += 1
                if kind == 3:
                    ended = number
                    break
                yield kind, number, at + 64, note
                at += 64 + length


class Index:
    """[index-file] [index-aad] [index-wal] [index-schema]"""

    SCHEMA = {
        'state': 'id seg off ino_next eid_next inodes extents mapped local unpacked dirty',
        'inode': 'ino mode nlink uid gid rdev size stored atime mtime ctime btime parent av_l av_d cv_l cv_d xv_l xv_d dirty',
        'target': 'ino target', 'entry': 'parent cookie name ino type v_l v_d dirty', 'xattr': 'ino name value',
        'extent': 'eid id len epoch refs seg off pack pack_off', 'map': 'ino off len eid eoff', 'dirty_range': 'ino off len',
        'kv': 'space key value', 'seg': 'seg live', 'dead': 'id seg off len'}

    def __init__(self, directory, device_key, vault_id):
        self.key, self.vault_id, self.frames = K(device_key, 16), vault_id, 0
        with tempfile.TemporaryDirectory() as tmp:
            plain = os.path.join(tmp, 'plain')
            self.database(os.path.join(directory, 'index'), plain)
            self.log(os.path.join(directory, 'index-wal'), plain + '-wal')
            db = sqlite3.connect(plain)
            db.text_factory = bytes
            need(db.execute('PRAGMA integrity_check').fetchall() == [(b'ok',)], 'SQLite finds damage')
            need(db.execute('PRAGMA user_version').fetchone() == (1,), 'another version of the schema')
            self.table = {}
            for name, columns in self.SCHEMA.items():
                cursor = db.execute('SELECT * FROM "%s"' % name)
                need([c[0] for c in cursor.description] == columns.split(), 'the table %s has other columns' % name)
                self.table[name] = cursor.fetchall()
            tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            need(sorted(t[0].decode() for t in tables) == sorted(self.SCHEMA), 'there are other tables')
            db.close()

    def open(self, kind, number, generation, nonce, sealed):
        return box_open(self.key, nonce, self.vault_id + pack('<BQ', kind, number) + generation, sealed, 'page or frame %d of the index' % number)

    def database(self, sealed, plain):
        with open(sealed, 'rb') as f, open(plain, 'wb') as out:
            number = 0
            while len(page := f.read(4096)) == 4096:
                number += 1
                out.write(self.open(1, number, bytes(8), page[4072:], page[:4072]) + bytes(40))

    def log(self, sealed, plain):
        try:
            with open(sealed, 'rb') as f:
                p = f.read()
        except FileNotFoundError:
            return
        with open(plain, 'wb') as out:
            try:
                head = self.open(2, 0, bytes(8), p[:24], p[24:72])
                out.write(head)
                for frame in range((len(p) - 72) // 4200):
                    q = p[72 + frame * 4200:][:4200]
                    out.write(self.open(3, frame, head[16:24], q[:24], q[24:64]) + self.open(4, frame, head[16:24], q[64:88], q[88:]))
                    self.frames += 1
            except Refuse:
                pass  # the log ends here


class Vault:
    def __init__(self, directory, secret):
        self.dir = directory
        f = In(self.file('vault', 52))  # [vault-header]
        need(f.raw(8) == b'OBSVAULT' and (f.u32(), f.u32()) == (1, 1), 'no vault')
        self.id, tag = f.raw(32), f.u32()
        f.end()
        self.device_key = slot_open(self.file('slots/0', 256), 0, self.id, secret)
        self.keyring = keyring_open(self.file('keyring', 16384), self.device_key, self.id)
        need(self.keyring['tag'] == tag == device_tag(ed25519_public(self.keyring['sign_seed'])), 'the header is of another device')
        self.epochs = self.keyring['epochs']
        self.segments = Segments(directory, self.device_key, self.id, tag)
        self.index = Index(directory, self.device_key, self.id)
        self.tree, self.extents, self.kv, self.replayed, self.packs = Tree(), {}, {}, 0, None
        self.load()
        self.replay()

    def file(self, name, most):
        with open(os.path.join(self.dir, name), 'rb') as f:
            p = f.read(most + 1)
        need(len(p) <= most, name + ' is too long')
        return p

    def load(self):
        t, tree = self.index.table, self.tree
        for ino, mode, nlink, uid, gid, rdev, size, stored, atime, mtime, ctime, btime, *_ in t['inode']:
            inode = tree.inodes[ino] = Inode(mode)
            inode.__dict__.update(nlink=nlink, uid=uid, gid=gid, rdev=rdev, size=size, atime=atime, mtime=mtime, ctime=ctime, btime=btime)
            inode.stored = stored
        for ino, target in t['target']:
            tree.inodes[ino].target = target
        hash_key = K(self.device_key, 18)[:16]
        for parent, cookie, name, ino, kind, *_ in t['entry']:
            tree.names[(parent, name)] = ino
            need(cookie >> 14 == siphash(hash_key, name) % (1 << 48) and cookie > 2, 'a cookie is not that of its name')  # [index-cookie]
            need(kind == stat.S_IFMT(tree.inodes[ino].mode), 'an entry has another type than its inode')
        for ino, name, value in t['xattr']:
            tree.inodes[ino].xattrs[name] = value
        for ino, off, length, eid, eoff in sorted(t['map']):
            tree.inodes[ino].rows.append((off, length, eid, eoff))
        for eid, ident, length, epoch, refs, seg, off, pack_no, pack_off in t['extent']:
            self.extents[eid] = (ident, length, epoch, (seg, off), (pack_no, pack_off))
            need(refs == sum(row[3] == eid for row in t['map']), 'references are counted wrong')
        need(all(i.stored == sum(row[1] for row in i.rows) for i in tree.inodes.values()), 'mapped bytes are counted wrong')
        self.kv = {(space.decode(), key): value for space, key, value in t['kv']}

    def local(self, ident, length, epoch, seg, off):
        p = self.segments.file(seg)[off:off + extent_size(length)]
        return extent_open(self.epochs[epoch], epoch, self.id, ident, length, p)

    def read_extent(self, eid):
        ident, length, epoch, (seg, off), (pack_no, pack_off) = self.extents[eid]
        if seg:
            return self.local(ident, length, epoch, seg, off)
        need(self.packs, 'an extent is only on the store')
        f = In(self.kv[('pack', pack('>Q', pack_no))])  # [ledger]
        return self.packs.read((ident, length, epoch, (f.raw(32), f.u64()), pack_off))

    def replay(self):
        """[index-replay]"""
        state = self.index.table['state'][0]
        known = In(self.kv.get(('replay', b'groups'), bytes(8))).u64()
        for kind, seg, off, note in self.segments.scan(state[1], state[2]):
            if kind != 2:
                continue
            groups, f = [], In(note)  # [note]
            while f.left():
                origin, group = f.u8(), In(f.var32(8 << 20))
                need(origin in (1, 2) and group.left(), 'a wrong group')
                if known:
                    known -= 1
                    continue
                while group.left():
                    groups.append(self.parse(group))
            for what, *r in groups:
                if what == 8 and r[4]:
                    try:
                        self.local(*r[1:6])
                    except Refuse:
                        return
            for what, *r in groups:
                self.apply(what, r)
            self.replayed += 1

    def parse(self, f):
        """[note-kind] [note-inode-mask] [kv-caps]"""
        kind = f.u8()
        if kind in (13, 14):
            return (kind, f.var16(31).decode(), f.var16(1024), f.var32(4 << 20) if kind == 13 else None)
        ino = f.u64()
        need(0 < ino < 1 << 63, 'a wrong number')
        if kind == 1:
            names = ('mode', 'nlink', 'uid', 'gid', 'rdev', 'size', 'atime', 'mtime', 'ctime', 'btime', 'parent', 'av', 'cv', 'xv', 'dirty')
            kinds = (f.u32,) * 5 + (f.u64,) + (f.i64,) * 4 + (f.u64,) + (f.version,) * 3 + (f.u8,)
            mask = f.u16()
            need(mask < 1 << 15, 'a wrong mask')
            return kind, ino, {n: get() if mask >> i & 1 else (0, 0) if n[1:] == 'v' else 0 for i, (n, get) in enumerate(zip(names, kinds))}
        fields = {2: (), 3: (f.var16,), 4: (f.u64, f.u32, f.version, f.u8, f.var16), 5: (f.var16,), 6: (f.var16, lambda: f.var32(65536)),
                  7: (f.var16,), 8: (lambda: f.raw(16), f.u32, f.u32, f.u64, f.u64, f.u64, f.u64), 9: (f.u64,) * 4,
                  10: (f.u64, f.u64, f.u64, f.u32), 11: (f.u64, f.u64), 12: ()}
        need(kind in fields, 'a note of another kind')
        return (kind, ino, *(get() for get in fields[kind]))

    def apply(self, kind, r):
        inodes, names, ino = self.tree.inodes, self.tree.names, r[0]
        if kind == 1:
            inodes.setdefault(ino, Inode()).__dict__.update(r[1])
        elif kind == 2:
            del inodes[ino]
        elif kind == 3:
            inodes[ino].target = r[1]
        elif kind == 4:
            need(name_ok(r[5]), 'a wrong name')
            names[(ino, r[5])] = r[1]
        elif kind == 5:
            del names[(ino, r[1])]
        elif kind == 6:
            inodes[ino].xattrs[r[1]] = r[2]
        elif kind == 7:
            del inodes[ino].xattrs[r[1]]
        elif kind == 8:
            self.extents[ino] = (r[1], r[2], r[3], (r[4], r[5]), (r[6], r[7]))
        elif kind == 9:
            ident, length, epoch, old, _ = self.extents[ino]
            try:
                self.extents[ino] = (ident, length, epoch, (r[1], r[2]), (r[3], r[4]))
                r[1] and (r[1], r[2]) != old and self.read_extent(ino)
            except Refuse:
                self.extents[ino] = (ident, length, epoch, old, (r[3], r[4]))
        elif kind == 10:
            inodes[ino].map(r[1], r[2], r[3], r[4])
        elif kind == 11:
            inodes[ino].punch(r[1], r[1] + r[2])
        elif kind == 13:
            self.kv[(ino, r[1])] = r[2]
        elif kind == 14:
            del self.kv[(ino, r[1])]

    KV = {  # space: lengths of keys (or the keys), of values; None: any
        'head': (4, 40), 'clock': ([b'lamport'], 8), 'counter': ([b'pack', b'store'], 8), 'pack': (8, 40), 'pack-hash': (32, 8),
        'pack-missing': (12, 0), 'pack-fill': (4, 16), 'outbox': (8, None), 'acked': (8, 8), 'watch': (4, 20), 'rest': (8, 8),
        'roster': (32, None), 'keybox': ([b'own'], None), 'store': (4, None), 'engine': ([b'last-sync'], 8), 'chain': (12, 32), 'when': (12, 8),
        'chain-own': ([b'seq'], 8), 'absent': (None, 12), 'again': (8, 8), 'doomed': (8, 12), 'stand-in': (8, 0), 'nameless': (8, None), 'proof': (12, None), 'gone-entry': (None, 12),
        'gone-inode': (8, 12)}

    def check_kv(self):
        """Everything in the table kv is what the page says. [ledger] [stores-item] [tombstone]"""
        for (space, key), value in self.kv.items():
            need(space in self.KV, 'an unknown space ' + space)
            keys, length = self.KV[space]
            need(keys is None or (len(key) == keys if isinstance(keys, int) else key in keys), 'another key in ' + space)
            need(length in (None, len(value)), 'another value in ' + space)
            if space == 'store':
                f = In(value)
                need(f.u16() == 1 and f.u8() < 16, 'a store of another version')
                need(f.var16(2000).startswith((b'file:', b'http', b's3:')) and f.var16(1023) is not None, 'a wrong URL')
                f.var16(4096), f.var16(4096), f.var16(4096)
                f.end()

    def check_store(self, directory):
        """What the vault says of the store, against the store. [ledger] [keybox]"""
        store, k = Store(directory), self.keyring
        need(store.vault_id() == self.id and store.get('keys/recovery', 4096) == k['recovery'], 'another store')
        roster = Roster(self.id, self.epochs[1])
        roster.add_all([k['genesis']] + [v for (space, _), v in self.kv.items() if space == 'roster'])
        own = ed25519_public(k['sign_seed'])
        need(roster.devices[own]['name'] == k['name'], 'the roster has another name for this device')
        box = store.get('keys/' + roster.devices[own]['store_name'], 4096)
        need(self.kv[('keybox', b'own')] == box, 'another key box')
        f = In(box)
        need(f.raw(8) == b'OBSK\1\1\0\0' and f.raw(32) == self.id and f.raw(32) == own, 'no key box of ours')
        author, sealed = f.raw(32), f.var32(4096)
        need(author in roster.devices, 'a key box of a stranger')
        verify(author, b'obs-keybox', box[:f.at], f.raw(64))
        f.end()
        f = In(sealed_box_open(k['box_seed'], sealed))
        need(f.raw(32) == self.id and get_epochs(f) == self.epochs, 'a key box with other keys')
        f.end()
        prev, batches = bytes(32), [(key, v) for (space, key), v in sorted(self.kv.items()) if space == 'outbox']
        for i, (key, p) in enumerate(batches):
            name = 'journal/%s/%016x' % (roster.devices[own]['store_name'], i + 1)
            b = Batch(p, name, self.id, own, k['tag'])
            need(key == pack('>Q', i + 1) and b.prev == prev and store.get(name, 16 << 20) == p, 'a batch of the outbox is another on the store')
            prev = b.hash
        if batches:
            need(b.roster == roster.hash(), 'the last batch names another roster')
            need(self.kv[('head', pack('>I', k['tag']))] == pack('<Q', len(batches)) + prev, 'another head')
        names, devices = {d['tag']: d['store_name'] for d in roster.devices.values()}, {d['tag']: key for key, d in roster.devices.items()}
        for (space, key), v in self.kv.items():
            if space == 'chain':  # [chain]
                tag, seq = unpack('>IQ', key)
                name = 'journal/%s/%016x' % (names[tag], seq)
                b = Batch(store.get(name, 16 << 20), name, self.id, devices[tag], tag)
                need(b.hash == v and self.kv[('when', pack('>IQ', tag, b.lamport))] == pack('<Q', seq), 'the chain is another on the store')
            if space == 'pack':
                need(self.kv[('pack-hash', v[:32])] == pack('<Q', unpack('>Q', key)[0]), 'packs and their hashes differ')
        self.packs = Packs(store, self.id, self.epochs)
        return len(batches)


def read_vault(directory, pass_file, out, store=None):
    with open(pass_file, 'rb') as f:
        vault = Vault(directory, f.readline().rstrip(b'\n'))
    vault.check_kv()
    tree, said = vault.tree, {}
    if store:
        said['outbox'] = vault.check_store(store)
    tree.write(out, vault.read_extent)
    here = [e for e in vault.extents.values() if e[3][0]]
    listed = list(vault.segments.scan(0, 0)) if not vault.replayed else []
    said.update(vault=vault.id.hex(), device=vault.keyring['name'], inodes=len(tree.inodes), names=len(tree.names), frames=vault.index.frames,
                replayed=vault.replayed, extents=len(vault.extents), here=len(here), records=vault.segments.counts,
                listed=sum(kind == 1 for kind, *_ in listed))
    return said
