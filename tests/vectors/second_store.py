"""Section THE STORE of obscurafs-format(5), as the second reader has it."""
import os
import stat
from datetime import datetime, timezone
from struct import pack, unpack

from second_crypto import Refuse, box_open, ed25519_public, need
from second_parts import (H, K, In, Inode, Tree, code_key, code_parse, extent_open, extent_size, get_epochs, object_open, padme,
                          verify)


class Store:
    def __init__(self, path):
        self.path = path

    def get(self, name, most):
        with open(os.path.join(self.path, name), 'rb') as f:
            p = f.read(most + 1)
        need(len(p) <= most, name + ' is too long')
        return p

    def has(self, name):
        return os.path.exists(os.path.join(self.path, name))

    def vault_id(self):
        """[store-header]"""
        f = In(self.get('vault', 48))
        need(f.raw(8) == b'OBSSTORE' and (f.u32(), f.u32()) == (1, 1), 'no store of ours')
        vault_id = f.raw(32)
        f.end()
        return vault_id

    def roster(self):
        """The records by their names. [store]"""
        return {'roster/' + n: self.get('roster/' + n, 1024) for n in os.listdir(os.path.join(self.path, 'roster')) if n[0] != '.'}


def recovery_open(sealed, code, vault_id):
    """[recovery]: the epoch keys, and the public half of the recovery sign key"""
    f = In(object_open(sealed, 6, code_key(code, vault_id), vault_id, 'keys/recovery'))
    need(f.u16() == 1, 'keys/recovery is of another version')
    seed, epochs = f.raw(32), get_epochs(f)
    f.end()
    return epochs, ed25519_public(seed)


class Roster:
    """[roster] [roster-record]"""

    def __init__(self, vault_id, first_key):
        self.vault_id, self.name_key = vault_id, K(first_key, 3)
        self.devices, self.hashes, self.recovery = {}, {}, None  # by sign key; n by hash of record

    def add(self, record):
        h = H(b'obs-roster', record)
        f = In(record)
        need(len(record) <= 1024 and f.raw(4) == b'OBSR' and (f.u8(), f.u8()) == (1, 1), 'no roster record')
        kind = f.u8()
        need(kind in (1, 2) and f.u8() == 0, 'a roster record of another kind')
        vault_id, n, prev, sign_key, box_key, tag = f.raw(32), f.u32(), f.raw(32), f.raw(32), f.raw(32), f.u32()
        recovery, name, signer = f.raw(32), f.var16(64 + 52), f.u8()
        key = f.raw(32) if signer == 2 else self.recovery
        end = f.at
        signature = f.raw(64)
        f.end()
        need(signer in (1, 2) and 1 <= tag < (1 << 23) - 1, 'a roster record breaks a rule')
        if kind == 1:
            need(h == self.vault_id and vault_id == bytes(32) and n == 0 and prev == bytes(32) and key == sign_key, 'another genesis')
        else:
            if prev not in self.hashes:
                return False
            need(vault_id == self.vault_id and n == self.hashes[prev] + 1 and recovery == bytes(32), 'a roster record breaks a rule')
            need(signer == 1 or key in self.devices, 'a signer who is not in the roster')
            need(sign_key not in self.devices and all(tag != d['tag'] for d in self.devices.values()), 'ALARM: a taken tag')
        verify(key, b'obs-roster', record[:end], signature)
        if kind == 1:
            self.recovery = recovery
        text = object_open(name, 8, self.name_key, vault_id, 'roster')
        self.hashes[h] = n
        self.devices[sign_key] = {'tag': tag, 'box_key': box_key, 'name': text.decode(), 'object': 'roster/%08x-%s' % (n, h.hex()[:16]),
                                  'store_name': H(b'obs-device', sign_key).hex()[:32]}
        return True

    def add_all(self, records):
        waiting = list(records)
        while waiting:
            rest = [r for r in waiting if not self.add(r)]
            need(len(rest) < len(waiting), 'roster records whose predecessors are missing')
            waiting = rest

    def hash(self):
        return H(b'obs-roster-set', *sorted(self.hashes))


def name_ok(name):
    return 1 <= len(name) <= 255 and b'/' not in name and b'\0' not in name and name not in (b'.', b'..')


def ino_ok(ino):
    return ino == 1 or 1 <= ino >> 40 < 1 << 23


class Batch:
    """[batch] [batch-head] [batch-body] [batch-signature] [batch-record]"""

    def __init__(self, p, name, vault_id, sign_key, tag):
        f = In(p)
        need(len(p) <= 16 << 20 and f.raw(4) == b'OBSJ' and (f.u8(), f.u8(), f.u16()) == (1, 1, 0), name + ' is no batch')
        need(f.raw(32) == vault_id and f.raw(32) == sign_key, name + ' is of another vault or device')
        self.seq, self.prev, self.roster, self.epoch, self.lamport = f.u64(), f.raw(32), f.raw(32), f.u32(), f.u64()
        self.heads = {}
        for _ in range(f.u16()):
            head = f.u32()
            need(head > max(self.heads, default=0), 'heads do not ascend')
            self.heads[head] = (f.u64(), f.raw(32))
        need(len(self.heads) <= 1024 and self.epoch and 0 < self.lamport < 1 << 63, name + ' breaks a rule')
        self.body = f.var32(16 << 20)
        verify(sign_key, b'obs-batch', p[:f.at], f.raw(64))
        f.end()
        need(len(self.body) == padme(len(self.body), 4096), name + ' is not padded')
        self.name, self.hash, self.version = name, H(b'obs-batch', p), (self.lamport, tag)

    def records(self, epochs, vault_id):
        f = In(object_open(self.body, 3, K(epochs[self.epoch], 3), vault_id, self.name, self.epoch))
        packs, out = [], []
        while f.left():
            kind, r = f.u8(), In(f.var32(16 << 20))
            if kind == 0:
                need(not any(r.raw(r.left())), 'padding that is not zero')
            elif kind == 1:
                packs.append((r.raw(32), r.u64()))
                need(4096 <= packs[-1][1] <= 8 << 20, 'a pack of a wrong size')
            else:
                need(2 <= kind <= 6, 'a record of another kind')
                base = r.version()
                need((base[0] == 0) == (base[1] == 0), 'a wrong base')
                out.append((kind, base, getattr(self, 'get_%d' % kind)(r, packs)))
            r.end()
        return out

    def get_2(self, r, packs):
        v = dict(zip(('ino', 'mode', 'uid', 'gid', 'rdev'), (r.u64(), r.u32(), r.u32(), r.u32(), r.u32())))
        v.update(zip(('atime', 'mtime', 'ctime', 'btime'), (r.i64(), r.i64(), r.i64(), r.i64())))
        v['target'] = r.var16(4095)
        need(ino_ok(v['ino']) and v['mode'] <= 0o177777 and bool(v['target']) == stat.S_ISLNK(v['mode']), 'wrong attributes')
        need(not v['rdev'] or stat.S_ISBLK(v['mode']) or stat.S_ISCHR(v['mode']), 'a device number of no device')
        return v

    def get_3(self, r, packs):
        v = {'ino': r.u64(), 'size': r.u64(), 'mtime': r.i64(), 'whole': r.u8(), 'parent': r.u64(), 'name': r.var16(255), 'ranges': []}
        need(ino_ok(v['ino']) and v['whole'] <= 1 and v['size'] < 1 << 63, 'wrong content')
        n, after = r.u32(), 0
        need(n <= 65536, 'too many ranges')
        for _ in range(n):
            off, length, hole = r.u64(), r.u64(), r.u8()
            need(after <= off and length and off + length <= v['size'] and hole <= 1, 'a wrong range')
            after, ext = off + length, None
            if not hole:
                ident, size, epoch, eoff, number, pack_off = r.raw(16), r.u32(), r.u32(), r.u32(), r.u32(), r.u32()
                need(1 <= size <= 1 << 20 and eoff + length <= size and number < len(packs), 'a wrong extent')
                need(40 <= pack_off and pack_off + extent_size(size) <= packs[number][1] - 56, 'an extent outside its pack')
                ext = (ident, size, epoch, packs[number], pack_off)
            v['ranges'].append((off, length, ext, 0 if hole else eoff))
        return v

    def get_4(self, r, packs):
        ino, n, xattrs = r.u64(), r.u16(), {}
        for _ in range(n):
            name = r.var16(255)
            need(name and name > max(xattrs, default=b''), 'xattrs do not ascend')
            xattrs[name] = r.var32(65536)
        need(ino_ok(ino) and n <= 1024, 'wrong xattrs')
        return {'ino': ino, 'xattrs': xattrs}

    def get_5(self, r, packs):
        v = {'parent': r.u64(), 'ino': r.u64(), 'type': r.u32(), 'name': r.var16(255)}
        need(ino_ok(v['parent']) and name_ok(v['name']) and (v['ino'] == v['type'] == 0 or ino_ok(v['ino']) and v['ino'] != 1), 'a wrong name')
        return v

    def get_6(self, r, packs):
        return {'ino': r.u64()}


def conflict_ino(ino, version):
    """[conflict-copy]"""
    h = H(b'obs-conflict', pack('<QQI', ino, *version))
    return ((1 << 23) - 1) << 40 | unpack('<Q', h[:8])[0] % (1 << 40)


def conflict_name(name, device, mtime):
    """[conflict-name], of the first try"""
    dot = name.rfind(b'.')
    if dot < 1 or len(name) - dot > 32:
        dot = len(name)
    device = bytes(c if c >= 32 and c != 47 else 45 for c in device.encode())
    date = datetime.fromtimestamp(mtime // 10 ** 9, timezone.utc).strftime('%Y-%m-%d').encode()
    mark = b' (conflict, %s, %s)' % (device, date)
    stem = name[:dot]
    while len(stem) + len(mark) + len(name) - dot > 255:
        stem = stem.decode(errors='surrogateescape')[:-1].encode(errors='surrogateescape')
    return stem + mark + name[dot:]


class Replay:
    """Each thing has the value of the record with the highest version. That is the tree, once the devices have seen each other's batches and
    put what they mended in batches of their own. [merge]"""

    def __init__(self):
        self.tree, self.name_versions, self.places, self.contents = Tree(), {}, {}, []  # contents: (ino, version, mtime) of all that were said

    def apply(self, batch, records):
        v, tree = batch.version, self.tree
        for kind, base, r in sorted(records, key=lambda record: record[0]):  # attributes first, GONE last; stable
            if kind == 2:
                inode = tree.inodes.setdefault(r['ino'], Inode(r['mode']))
                need(stat.S_IFMT(inode.mode) == stat.S_IFMT(r['mode']), 'an inode of another type')
                inode.__dict__.update(r)
            elif kind == 5:
                key = (r['parent'], r['name'])
                need(v > self.name_versions.get(key, (0, 0)), 'batches are not in order')
                self.name_versions[key] = v
                tree.names.pop(key, None)
                if r['ino']:
                    tree.names[key] = r['ino']
            elif kind == 6:
                if r['ino'] not in tree.names.values():
                    tree.inodes.pop(r['ino'], None)
            elif r['ino'] in tree.inodes:
                self.content(v, base, tree.inodes[r['ino']], r)

    def content(self, v, base, inode, r):
        if 'xattrs' in r:
            inode.xattrs = r['xattrs']
            return
        self.contents.append((r['ino'], v, r['mtime']))
        if base != inode.cv and not r['whole']:
            return  # no mixtures: its author sends it whole
        inode.cv, inode.size = v, r['size']
        inode.punch(0 if r['whole'] else r['size'], 1 << 63)
        for off, length, ext, eoff in r['ranges']:
            inode.punch(off, off + length)
            if ext:
                self.places[ext[0]] = ext  # the newest place [lost-packs]
                inode.map(off, length, ext, eoff)

    def check_copies(self, device_names):
        """Copies of contents that lost have the numbers and names that every device would give them; how many there are."""
        names, copies = {}, {}
        for (parent, name), ino in self.tree.names.items():
            names.setdefault(ino, []).append((parent, name))
            if ino >> 40 == (1 << 23) - 1:
                copies[ino] = (parent, name)
        for copy, place in copies.items():
            want = [(parent, conflict_name(name, device_names[version[1]], mtime)) for ino, version, mtime in self.contents
                    if conflict_ino(ino, version) == copy for parent, name in names[ino]]
            need(place in want, 'a conflict copy is not what the page says')
        return len(copies)


class Packs:
    """[pack] [pack-head] [pack-table] [pack-trailer]: whole packs, checked; extents out of them"""

    def __init__(self, store, vault_id, epochs):
        self.store, self.vault_id, self.epochs, self.open_ones, self.count = store, vault_id, epochs, {}, 0

    def load(self, h, size):
        p = self.store.get('packs/%s/%s' % (h.hex()[:2], h.hex()), 8 << 20)
        need(len(p) == size and H(b'obs-pack', p) == h, 'a pack has other bytes than its name says')
        need(p[:8] == b'OBSP\1\1\0\0' and size in (8 << 20, padme(size, 4096)), 'no pack')
        for epoch, key in self.epochs.items():
            try:
                trailer = box_open(K(key, 2), p[-56:-32], p[:40] + self.vault_id, p[-32:], 'a trailer')
            except Refuse:
                continue
            number, off, length, zero = unpack('<4I', trailer)
            need(number == epoch and zero == 0 and 40 <= off and off + length <= size - 56, 'a wrong trailer')
            f = In(object_open(p[off:off + length], 2, K(key, 2), self.vault_id, 'pack', epoch))
            table, at = {}, 40
            for _ in range(f.u32()):
                ident, n, e, where = f.raw(16), f.u32(), f.u32(), f.u32()
                need(where == at and 1 <= n <= 1 << 20, 'extents do not lie end to end')
                table[ident] = (n, e, where)
                at += extent_size(n)
            f.end()
            need(at == off, 'extents do not fill the pack')
            self.count += 1
            return p, table
        raise Refuse('no key opens the trailer of a pack')

    def read(self, ext):
        ident, length, epoch, (h, size), off = ext
        if h not in self.open_ones:
            self.open_ones[h] = self.load(h, size)
        p, table = self.open_ones[h]
        need(table.get(ident) == (length, epoch, off), 'an extent is not in the pack that the batch names')
        return extent_open(self.epochs[epoch], epoch, self.vault_id, ident, length, p[off:off + extent_size(length)])


def read_journals(store, roster, epochs, vault_id):
    replay, waiting, heads, count = Replay(), {}, {}, 0
    for key, d in roster.devices.items():
        prev, seq, waiting[d['tag']] = bytes(32), 1, []
        while store.has('journal/%s/%016x' % (d['store_name'], seq)):
            name = 'journal/%s/%016x' % (d['store_name'], seq)
            b = Batch(store.get(name, 16 << 20), name, vault_id, key, d['tag'])
            need(b.seq == seq and b.prev == prev, 'ALARM: %s does not follow the one before' % name)
            waiting[d['tag']].append(b)
            prev, seq = b.hash, seq + 1
    known = {(tag, b.seq): b.hash for tag, batches in waiting.items() for b in batches}
    while any(waiting.values()):
        ready = [b[0] for b in waiting.values() if b and all(heads.get(t, 0) >= s for t, (s, _) in b[0].heads.items())]
        need(ready, 'the store does not show everything')
        b = min(ready, key=lambda batch: batch.version)
        need(all(known[(t, s)] == h for t, (s, h) in b.heads.items()), 'ALARM: two histories')
        replay.apply(b, b.records(epochs, vault_id))
        heads[b.version[1]] = b.seq
        waiting[b.version[1]].pop(0)
        count += 1
    return replay, count


def read_store(directory, code_file, out):
    store = Store(directory)
    vault_id = store.vault_id()
    with open(code_file) as f:
        code = code_parse(next(line for line in f if line.strip()))
    epochs, recovery_key = recovery_open(store.get('keys/recovery', 4096), code, vault_id)
    roster, records = Roster(vault_id, epochs[1]), store.roster()
    roster.add_all(records.values())
    need(roster.recovery == recovery_key, 'the recovery key is not the one of the genesis')
    need(sorted(records) == sorted(d['object'] for d in roster.devices.values()), 'a roster record has another name')
    replay, batches = read_journals(store, roster, epochs, vault_id)
    tree = replay.tree
    copies = replay.check_copies({d['tag']: d['name'] for d in roster.devices.values()})
    packs = Packs(store, vault_id, epochs)
    tree.write(out, lambda ext: packs.read(replay.places[ext[0]]))
    return {'vault': vault_id.hex(), 'devices': [d['name'] for d in roster.devices.values()], 'batches': batches, 'copies': copies, 'packs': packs.count,
            'inodes': len(tree.inodes), 'names': len(tree.names)}
