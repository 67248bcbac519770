#!/usr/bin/env python3
"""A second reader of what obscurafs writes: from obscurafs-format(5) alone, with nothing but Python's standard library.

  second_reader.py store DIR CODE_FILE OUT             a folder store with the vault code
  second_reader.py vault DIR PASS_FILE OUT [STORE]     a vault with its passphrase; what is not there from a folder store
  second_reader.py vectors DIR                         the frozen values

The tree goes into the new directory OUT. One line of JSON says what was read. It shows that the page is complete, and that the format
is what the page says and not what libsodium or SQLite happen to make of it. It does not merge, but reads what those
who merged have written. Exit codes: 0, 1 refused, 77 nothing here can compute Argon2id.
"""
import json
import sys
from hashlib import blake2b
from struct import pack

from second_crypto import Refuse, box_seal, ed25519_public, need
from second_parts import H, K, code_key, code_parse, extent_open, object_open, padme, sealed_box_open, verify
from second_store import read_store
from second_vault import read_vault, slot_open


def read_cases(path):
    case = {}
    with open(path) as f:
        for line in list(f) + ['\n']:
            name, _, value = line.strip().partition(' =')
            value = value.strip()
            if not name and case:
                yield case
                case = {}
            elif name and name[0] != '#':
                case[name] = value.strip('"')
    return


def read_vectors(directory):
    pattern = lambda n: bytes((i * 131 + (i >> 8) * 17 + 5) & 255 for i in range(n))
    x = bytes.fromhex
    n = {}

    def count(name, good):
        need(good, 'a value of %s differs' % name)
        n[name] = n.get(name, 0) + 1
    for c in read_cases(directory + '/kdf.txt'):
        count('kdf', K(x(c['parent']), int(c['purpose'])) == x(c['key']) if 'parent' in c else H(c['domain'].encode(), x(c['message'])) == x(c['hash']))
    for c in read_cases(directory + '/seal.txt'):
        size, ident, epoch = int(c['length']), x(c['id']), int(c['epoch'])
        blocks = (size + 16383) // 16384
        key, aad, plain = K(x(c['epoch_key']), 1), x(c['vault_id']) + pack('<I', epoch), pattern(size)
        sealed = b''.join(box_seal(key, ident + pack('<Q', i | (1 << 63 if i == blocks - 1 else 0)), aad, plain[i * 16384:(i + 1) * 16384])
                          for i in range(blocks))
        count('seal', blake2b(sealed, digest_size=32).hexdigest() == c['sealed_hash'] and
              extent_open(x(c['epoch_key']), epoch, x(c['vault_id']), ident, size, sealed) == plain)
    for c in read_cases(directory + '/object.txt'):
        count('object', padme(int(c['length']), int(c['min'])) == int(c['padded']) if 'padded' in c else
              object_open(x(c['sealed']), int(c['type']), x(c['key']), x(c['vault_id']), c['place'], int(c['epoch'])) == x(c['plain']))
    for c in read_cases(directory + '/sign.txt'):
        verify(x(c['sign_public']), c['domain'].encode(), x(c['message']), x(c['signature']))
        count('sign', ed25519_public(x(c['sign_seed'])) == x(c['sign_public']) and
              sealed_box_open(x(c['box_seed']), x(c['box'])) == x(c['box_plain']))
    for c in read_cases(directory + '/code.txt'):
        count('code', code_parse(c['text']) == x(c['code']) and code_key(x(c['code']), x(c['vault_id'])) == x(c['key']))
    for c in read_cases(directory + '/slot.txt'):
        count('slot', slot_open(x(c['slot']), int(c['number']), x(c['vault_id']), c['passphrase'].encode()) == x(c['device_key']))
    return n


def main():
    commands = {'store': (read_store, 3, 3), 'vault': (read_vault, 3, 4), 'vectors': (read_vectors, 1, 1)}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    run, least, most = commands[sys.argv[1]]
    if not least <= len(sys.argv) - 2 <= most:
        sys.exit(__doc__)
    try:
        print(json.dumps(run(*sys.argv[2:])))
    except (Refuse, FileNotFoundError, KeyError) as e:
        sys.exit('refused: %s' % e)


if __name__ == '__main__':
    main()
