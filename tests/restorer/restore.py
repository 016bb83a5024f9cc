#!/usr/bin/env python3
"""Independent restorer for copal repositories of format version 1, written from docs/format.md alone.

Usage:
    restore.py REPOSITORY (--key-file FILE | --password-file FILE) TARGET [--packs-only] [--snapshot NAME]
    restore.py REPOSITORY (--key-file FILE | --password-file FILE) --list

The first form recreates below TARGET (which must be absent or empty) everything that the newest
confirmed snapshot holds; with --packs-only it finds chunks by the packs' own directories and leaves
index/ aside.  The second prints the snapshots as JSON.  Nothing is written to the repository.
It takes a full key; a writer's only adds.

Exit code: 0 all well; 1 something was damaged, unknown or could not be restored (each is named on
standard error, the rest was restored); 2 the repository cannot be opened.
"""
import argparse
import collections
import errno
import fcntl
import functools
import hmac
import json
import mmap
import os
import re
import resource
import stat
import struct
import sys

import zstandard
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

# ---------------------------------------------------------------- constants (section 12)
HEADER_LEN = 32
MAGIC = b"\x8bCOPAL\r\n"
SMALL_MAX = 67108864
KDF_MEMORY_MIN, KDF_MEMORY_MAX = 65536, 4194304
PACK_MAX, BLOCK_MAX, CHUNK_MAX = 268435456, 33554432, 16777216
PAGE_MAX, LEVEL_MAX, DEPTH_MAX = 10000, 16, 100000
SYMLINK_MAX, SEGMENTS_INLINE, INDEX_PACKS = 65536, 1024, 4096
SEGMENTS_PAGE_MIN, SEGMENT_MIN, SEGMENT_MAX = 128, 64, (1 << 62) - 1
PACK_CHUNKS, NODE_MAX, NAME_MAX = 131072, 262144, 1020
SLOT_MAX, XATTR_NAME_MAX, LIST_MAX = 1048576, 255, 1048576
FLAGS_KEPT = 0x008100FC
FOOTER_LEN = 144
U64 = 1 << 64
DATA, TREES = 0, 1                                  # kinds of contents
KINDS = {"config": 1, "keys": 2, "packs": 3, "index": 4, "snapshots": 5, "confirmed": 6,
         "sessions": 7, "fences": 8, "removals": 9, "notes": 10, "damage": 11, "parity": 12}
WRITERS_KINDS = range(3, 8)                         # what a writer can make
RECORD_IN_PLAIN_PART = (KINDS["removals"], KINDS["damage"])
FORMS = {"config": r"[0-9a-f]{16}", "fences": r"[0-9a-f]{32}"}     # the others: 64 hex digits
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602


class Damaged(Exception):
    """Stored bytes that are not what the format says."""


class Unsupported(Exception):
    """Something of a later version: not damaged, but not for this program."""


class Fatal(Exception):
    """The repository cannot be opened."""


def need(condition, message):
    if not condition:
        raise Damaged(message)


class Report:
    """Collects what went wrong and prints it."""
    count = 0

    @classmethod
    def say(cls, where, what):
        cls.count += 1
        print(f"{where!r}: {what}" if isinstance(where, bytes) else f"{where}: {what}", file=sys.stderr)


# ---------------------------------------------------------------- cryptography
def keyed(key, *parts, length=32):
    return blake3(b"".join(parts), key=key).digest(length=length)


def hchacha20(key, nonce16):
    """HChaCha20 of draft-irtf-cfrg-xchacha: the first and last rows after 20 rounds."""
    s = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce16))

    def quarter(a, b, c, d):
        for one, two, three, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            s[one] = (s[one] + s[two]) & 0xFFFFFFFF
            x = s[three] ^ s[one]
            s[three] = ((x << turn) | (x >> (32 - turn))) & 0xFFFFFFFF

    for _ in range(10):
        for i in range(4):
            quarter(i, i + 4, i + 8, i + 12)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<8I", *s[0:4], *s[12:16])


def xopen(key, nonce24, sealed, associated):
    """Open XChaCha20-Poly1305."""
    try:
        return ChaCha20Poly1305(hchacha20(key, nonce24[:16])).decrypt(
            b"\0\0\0\0" + nonce24[16:], sealed, associated)
    except (InvalidTag, ValueError):
        raise Damaged("authentication failed") from None


def decompress(codec, data, plain_length, limit):
    """Undo codec 0 or 1 with a hard cap; the result has exactly plain_length bytes."""
    need(plain_length <= limit, "plain length above the limit")
    if codec == 0:
        out = data
    elif codec == 1:
        try:
            frame = zstandard.get_frame_parameters(data)
            need(frame.dict_id == 0, "zstd frame with a dictionary")
            if frame.content_size != zstandard.CONTENTSIZE_UNKNOWN:
                need(frame.content_size == plain_length, "zstd frame of another length")
            out = zstandard.ZstdDecompressor().decompress(
                data, max_output_size=plain_length, allow_extra_data=False)
        except zstandard.ZstdError as e:
            raise Damaged(f"zstd: {e}") from None
    else:
        raise Unsupported(f"codec {codec}")
    need(len(out) == plain_length, "wrong plain length")
    return out


# ---------------------------------------------------------------- varints and records (section 3)
class Reader:
    """Takes values from the front of a byte string, never past its end."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        need(n <= len(self.data) - self.at, "truncated")
        self.at += n
        return self.data[self.at - n:self.at]

    def varint(self):
        value = 0
        for i in range(10):
            b = self.take(1)[0]
            value |= (b & 0x7F) << (7 * i)
            if b < 0x80:
                need(value < U64, "varint above 64 bits")
                need(b or i == 0, "padded varint")
                return value
        raise Damaged("varint too long")

    def zigzag(self):
        n = self.varint()
        return (n >> 1) ^ -(n & 1)

    def done(self):
        return self.at == len(self.data)


def whole(read):
    """A decoder that needs its value to end where its bytes end."""
    def decode(data):
        r = Reader(data)
        value = read(r)
        need(r.done(), "value with bytes left over")
        return value
    return decode


def read_time(r):
    seconds, nanoseconds = r.zigzag(), r.varint()
    need(nanoseconds < 10**9, "nanoseconds out of range")
    return seconds * 10**9 + nanoseconds


def fixed(n):
    def decode(data):
        need(len(data) == n, f"value of {len(data)} bytes instead of {n}")
        return data
    return decode


def text(data):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Damaged("text is not UTF-8") from None


def list_of(decode):
    def read(r):
        out = []
        while not r.done():
            need(len(out) < LIST_MAX, "a list of too many elements")
            out.append(decode(r.take(r.varint())))
        return out
    return whole(read)


def record(data, schema):
    """Decode a record into a dict by field name; absent fields, and those passed over, are missing from it."""
    r, out, last = Reader(data), {}, -1
    while not r.done():
        head = r.varint()
        number, critical = head >> 1, head & 1
        need(number > last, "fields out of order")
        last, value = number, r.take(r.varint())
        if number in schema:
            name, decode = schema[number]
            if decode:
                out[name] = decode(value)
        elif critical:
            raise Unsupported(f"unknown critical field {number}")
    return out


def without(schema, *numbers):
    """A schema that passes over these fields, whatever is in them."""
    return {**schema, **dict.fromkeys(numbers, (None, None))}


def rec(schema):
    return functools.partial(record, schema=schema)


def numbered(spec, **kinds):
    """Schema from '1 name:kind 2 name:kind ...'."""
    words = spec.split()
    out = {}
    for number, word in zip(words[::2], words[1::2]):
        name, _, kind = word.partition(":")
        out[int(number)] = (name, kinds.get(kind) or VALUES[kind])
    return out


VALUES = {"int": whole(Reader.varint), "sint": whole(Reader.zigzag), "bytes": bytes, "text": text,
          "id": fixed(32), "id16": fixed(16), "time": whole(read_time), "ids": list_of(fixed(32)),
          "byteslist": list_of(bytes), "texts": list_of(text)}
CUTTER = numbered("1 kind:int 2 minimum:int 3 average:int 4 maximum:int")
SLOT = numbered("1 slot:id16 2 derivation:int 3 memory:int 4 passes:int 5 lanes:int 6 salt:id 7 config:bytes")
BUNDLE = numbered("1 role:int 2 keys:ids 3 writer:int 4 secret:id 5 seal:id 6 cut:id 7 chunk_id:id 8 tree_id:id "
                  "9 link_group:id 10 state:id 11 config:bytes")
CONFIG_PLAIN = numbered("1 readable:int 2 writable:int 3 generation:int")
CONFIG = numbered("1 cutter:cutter 2 pack_target:int 3 made:time 4 list_after_write:int", cutter=rec(CUTTER))
DIRECTORY = numbered("1 kind:int 2 blocks:bytes 3 domain:bytes 4 written:time")
INDEX_PACK = numbered("1 name:id 2 length:int 3 salt:id 4 commitment:id 5 directory:bytes 6 D:int 7 L:int "
                      "8 writer:int 9 proof:id")
INDEX = numbered("1 packs:packs 2 snapshots:byteslist 3 replaces:ids 4 config:bytes", packs=list_of(bytes))
SUMMARY = numbered("1 files:int 2 directories:int 3 others:int 4 bytes:int 5 new:int 6 changed:int 7 unmodified:int "
                   "8 bytes_new:int 9 bytes_stored:int 10 end:time 11 unreadable:int 12 changed_while_read:int")
SNAPSHOT = numbered(
    "1 time:time 2 utc_offset:sint 3 zone:text 4 root:id 5 host:bytes 6 user:bytes 7 sources:byteslist "
    "8 tags:texts 9 program:text 10 description:text 11 client:id16 12 sequence:int 13 previous:id 14 parent:id "
    "15 summary:summary 16 flags:int 17 options:texts 18 session:id16 19 state:bytes 23 options_digest:bytes "
    "24 removals:ids 26 stands_for:id", summary=rec(SUMMARY))
OF_WRITERS = {KINDS["index"]: without(INDEX, 2, 3, 4), KINDS["snapshots"]: without(SNAPSHOT, 26, 27, 28)}
CONFIRMED = numbered("1 snapshot:id 2 session:id16 3 time:time")
NOTE = numbered("1 snapshot:id 2 verb:int 3 texts:texts 4 time:time 5 client:id16 6 sequence:int "
                "7 snapshot_sequence:int 8 snapshot_previous:id 9 read:ids 10 snapshot_client:id16")
REMOVAL = numbered("1 packs:ids 2 time:time 3 session:id16 4 indexes:ids 5 state:int 6 mark:id 7 contains:ids 8 horizon:time")
DAMAGE = numbered("1 packs:ids 3 time:time")
PAGE = numbered("1 level:int 2 list:byteslist")
PAGE_ENTRY = numbered("1 id:id 2 count:int 3 last:bytes")
XATTR = numbered("1 name:bytes 2 value:bytes 3 id:id 4 length:int")
NODE = numbered(
    "1 name:bytes 2 type:int 3 mode:int 4 uid:int 5 gid:int 6 user:bytes 7 group:bytes 8 mtime:time 9 btime:time "
    "10 size:int 11 segments:bytes 12 content:id 13 tree:id 14 target:bytes 15 major:int 16 minor:int 17 xattrs:xattrs "
    "18 flags:int 19 link:id16 20 cutter:cutter 21 error:int 22 previous:bytes 23 not_read:texts 24 was:int",
    xattrs=list_of(rec(XATTR)), cutter=rec(CUTTER))
CONTENT_ENTRY = numbered("1 id:id 2 length:int")
CONTENT = numbered("11 level:int 12 segments:bytes 13 list:entries", entries=list_of(rec(CONTENT_ENTRY)))


# ---------------------------------------------------------------- the repository
def check_header(data, kind, repository_id=None):
    """The number of the writer that made the object; 0 for a full key."""
    need(len(data) >= HEADER_LEN, "shorter than a header")
    need(data[:8] == MAGIC, "wrong magic")
    need(data[8] == kind, f"object of kind {data[8]} in the place of kind {kind}")
    number = int.from_bytes(data[12:16], "little")
    if data[9] != 1 or data[10] > 1:
        raise Unsupported(f"version {data[9]}, wrap kind {data[10]}")
    need(data[11] != 1 or (data[10] == 0 and kind == KINDS["index"]), "signed where no object is")
    if data[11] > 1:
        raise Unsupported(f"signature kind {data[11]}")
    if data[10] == 0 and number:
        raise Unsupported("key epoch other than 0")
    if data[10] == 1 and (kind not in WRITERS_KINDS or not number):
        raise Damaged("wrap kind 1 where no writer can have made the object")
    if repository_id is not None:
        need(data[16:32] == repository_id, "object of another repository")
    return number


Place = collections.namedtuple("Place", "pack block offset length")     # of a chunk
Block = collections.namedtuple("Block", "number codec offset stored plain")
Pack = collections.namedtuple("Pack", "name kind key associated blocks")


class Repository:
    """Opens a repository and gives its small objects and chunks, each verified."""

    def __init__(self, folder, key_file, password_file):
        self.folder = folder
        self.open_slots(key_file, password_file)
        self.chunk_keys = (self.subkey("chunk id"), self.subkey("tree id"))
        self.seal = X25519PrivateKey.from_private_bytes(self.subkey("seal"))
        self.seal_public = self.seal.public_key().public_bytes_raw()
        self.chunks = {}                        # (kind, id) -> [Place]
        self.snapshot_copies = {}               # name -> stored bytes
        self.files = collections.OrderedDict()  # open packs
        self.plain = collections.OrderedDict()  # opened blocks
        self.hashed = {}                        # pack name -> whether its bytes hash to it

    # ---- backend
    def names(self, kind):
        """Names of that kind which have the right form, in order."""
        form = re.compile(FORMS.get(kind, r"[0-9a-f]{64}"))
        try:
            entries = os.listdir(os.path.join(self.folder, kind))
        except FileNotFoundError:
            return []
        if kind == "packs":
            entries = [n for two in entries if re.fullmatch("[0-9a-f]{2}", two)
                       for n in os.listdir(os.path.join(self.folder, kind, two)) if n.startswith(two)]
        return sorted(n for n in entries if form.fullmatch(n))

    def path(self, kind, name):
        return os.path.join(self.folder, kind, name[:2], name) if kind == "packs" else os.path.join(self.folder, kind, name)

    def load(self, kind, name, named=True):
        """Stored bytes; with named=False a wrong hash is only reported, as other proofs follow."""
        path = self.path(kind, name)
        with open(path, "rb") as f:
            data = f.read(SMALL_MAX + 1)
        need(len(data) <= SMALL_MAX, "larger than a small object may be")
        if kind not in ("config", "confirmed", "fences"):
            right = blake3(data).hexdigest() == name
            need(right or not named, "the bytes do not hash to the name")
            if not right:
                Report.say(f"{kind}/{name}", "the bytes do not hash to the name")
        return data

    # ---- keys (section 4)
    @functools.cache
    def subkey(self, context, writer=0):
        """A subkey of the master key, or of that writer's secret."""
        secret = self.subkey(f"writer {writer}") if writer else self.master
        return blake3(secret + self.id, derive_key_context=f"copal 2026-11 v1 {context}").digest()

    def open_slots(self, key_file, password_file):
        if key_file:
            with open(key_file, "rb") as f:
                match = re.fullmatch(rb"copal-key-1 ([0-9a-fA-F]{64})\r?\n?", f.read(1024))
            if not match:
                raise Fatal(f"{key_file}: not a key file")
            secret, derivation = bytes.fromhex(match[1].decode()), 2
        else:
            with open(password_file, "rb") as f:
                secret, derivation = f.readline().rstrip(b"\r\n"), 1
        slots = self.names("keys")
        if not slots:
            raise Fatal("there is no key slot")
        roles = set()
        for name in slots:
            try:
                roles.add(self.try_slot(self.load("keys", name, named=False), secret, derivation))
                if 1 in roles:
                    return
            except (Damaged, Unsupported, OSError) as e:
                Report.say(f"keys/{name}", e)
        raise Fatal("this key is a writer's: it adds to the repository and does not read" if 2 in roles else
                    "no key slot opens with that password or key")

    def try_slot(self, data, secret, derivation):
        """The role of a slot that opens, a full one's keys taken; None when the secret is not its own."""
        check_header(data, KINDS["keys"])
        need(len(data) <= SLOT_MAX, "larger than a key slot may be")
        r = Reader(data)
        r.take(HEADER_LEN)
        plain = r.take(int.from_bytes(r.take(4), "little"))
        slot, described = record(plain, SLOT), data[:r.at]
        commitment = r.take(32)
        bound, nonce = data[:r.at], r.take(24)
        sealed_length = int.from_bytes(r.take(4), "little")
        sealed, description_nonce, description = r.take(sealed_length), r.take(24), data[r.at:]
        need("slot" in slot and "salt" in slot, "slot without id or salt")
        if slot.get("derivation") not in (1, 2):
            raise Unsupported(f"derivation {slot.get('derivation')}")
        if slot["derivation"] != derivation:
            return None
        if derivation == 1:
            memory, passes, lanes = (slot.get(k, 0) for k in ("memory", "passes", "lanes"))
            need(KDF_MEMORY_MIN <= memory <= KDF_MEMORY_MAX and 1 <= passes <= 16 and 1 <= lanes <= 16,
                 "derivation parameters out of range")
            key = hash_secret_raw(secret, slot["salt"], passes, memory, lanes, 32, Type.ID, 0x13)
        else:
            key = keyed(secret, slot["salt"])
        if not hmac.compare_digest(keyed(key, b"copal slot commitment", plain), commitment):
            return None
        slot_key = keyed(key, b"copal slot seal")
        try:
            bundle = record(xopen(slot_key, nonce, sealed, bound), BUNDLE)
        except Damaged as e:
            raise Damaged(f"bundle: {e}") from None
        if bundle.get("role") == 2:
            return 2
        if bundle.get("role") != 1:
            raise Unsupported(f"role {bundle.get('role')}")
        need(bundle.get("keys"), "no master key")
        self.master, self.id = bundle["keys"][0], bytes(data[16:32])
        try:                                    # what the slot says of itself is not needed to open it
            xopen(self.subkey("slot description"), description_nonce, description, described)
        except Damaged as e:
            Report.say("description of the key slot", e)
        return 1

    def slot_configs(self):
        """Copies of config in the key slots; each is verified as any other config is."""
        for name in self.names("keys"):
            try:
                r = Reader(self.load("keys", name)[HEADER_LEN:])
                slot = record(r.take(int.from_bytes(r.take(4), "little")), SLOT)
                if "config" in slot:
                    yield slot["config"]
            except (Damaged, Unsupported, OSError):
                continue                        # reported when the slots were tried, or not ours to open

    # ---- small objects (section 2)
    def open_small(self, data, kind):
        """(writer, plain part, payload record bytes) of a small object's stored bytes."""
        need(len(data) <= SMALL_MAX, "larger than a small object may be")
        writer = check_header(data, kind, self.id)
        key = self.subkey(f"small object {kind}", writer)
        if data[11] == 1:
            key, data = self.subkey("shared index"), self.signed(data)
        r = Reader(data)
        r.take(HEADER_LEN)
        r.take(16)                                                                  # object id
        plain = r.take(int.from_bytes(r.take(4), "little"))
        need(not plain or kind in (KINDS["config"], *RECORD_IN_PLAIN_PART), "plain part where there is none")
        associated, nonce = data[:r.at], r.take(24)
        p = Reader(xopen(key, nonce, data[r.at:], associated))
        codec, length = p.take(1)[0], p.varint()
        return writer, plain, decompress(codec, p.take(len(p.data) - p.at), length, SMALL_MAX)

    def signed(self, data):
        """What of a signed object comes before its signature, which is verified."""
        need(len(data) >= HEADER_LEN + 68 and data[-4:] == (64).to_bytes(4, "little"), "signature of another length")
        message, signature = data[:-68], data[-68:-4]
        try:
            Ed25519PrivateKey.from_private_bytes(self.subkey("sign")).public_key().verify(signature, message)
        except InvalidSignature:
            raise Damaged("the signature does not hold") from None
        return message

    def small(self, kind, name, schema):
        """(writer, record) of an object by its name."""
        return self.small_record(self.load(kind, name), KINDS[kind], schema)

    def small_record(self, data, kind, schema):
        """(writer, record); of removals and damage it is in the plain part, where writers can read it, or as of old not."""
        writer, plain, payload = self.open_small(data, kind)
        need(not plain or not payload, "a record in the plain part and one in the payload")
        return writer, record(plain or payload, OF_WRITERS.get(kind, schema) if writer else schema)

    def all_small(self, kind, schema):
        """(name, writer, record) of every good object of that kind; the others are reported."""
        for name in self.names(kind):
            try:
                yield name, *self.small(kind, name, schema)
            except (Damaged, Unsupported, OSError) as e:
                Report.say(f"{kind}/{name}", e)

    def open_config(self):
        """The configuration in force: highest generation that verifies, copies included."""
        candidates = []
        for name in self.names("config"):
            try:
                candidates.append((f"config/{name}", int(name, 16), self.load("config", name)))
            except (Damaged, OSError) as e:
                Report.say(f"config/{name}", e)
        candidates += [("copy of config in a key slot", None, c) for c in self.slot_configs()]
        best = None
        for where, generation, data in candidates:
            try:
                _, plain, payload = self.open_small(data, KINDS["config"])
                plain = record(plain, CONFIG_PLAIN)
                need(generation in (None, plain.get("generation", 0)), "generation differs from the name")
                if plain.get("readable", 0) > 1:
                    raise Fatal("a newer program is needed to read this repository")
                if best is None or plain.get("generation", 0) > best[0]:
                    best = plain.get("generation", 0), record(payload, CONFIG)
            except Unsupported as e:
                raise Fatal(f"{where}: {e}") from None
            except Damaged as e:
                Report.say(where, e)
        if best is None:
            raise Fatal("no configuration verifies")
        self.config = best[1]
        c = self.config.get("cutter", {})
        average = c.get("average", 0)
        if not 64 <= c.get("minimum", 0) <= average <= c.get("maximum", 0) <= CHUNK_MAX or average & (average - 1):
            Report.say("config", "impossible cutter (reading needs none)")
        return self.config

    # ---- packs (section 5)
    def pack_key(self, writer, salt, kind, commitment):
        """The key that fits the commitment, or None; salt is X25519(e, 9) in a writer's pack."""
        if writer:
            try:
                shared = self.seal.exchange(X25519PublicKey.from_public_bytes(salt))
            except ValueError:                  # a point of small order, which no e gives
                return None
            key = keyed(keyed(self.subkey("pack", writer), shared, salt, self.seal_public), bytes([kind]))
        else:
            key = keyed(self.subkey("pack"), salt, bytes([kind]))
        return key if hmac.compare_digest(keyed(key, b"copal pack commitment"), commitment) else None

    def pack_header(self, writer):
        """The header every pack of this version has (the index does not keep it)."""
        return MAGIC + bytes([KINDS["packs"], 1, bool(writer), 0]) + struct.pack("<I", writer) + self.id

    def pack_file(self, name):
        """The bytes of a pack, whole-file hash compared with the name the first time."""
        if name in self.files:
            self.files.move_to_end(name)
            return self.files[name]
        with open(self.path("packs", name), "rb") as f:
            need(96 + FOOTER_LEN <= os.fstat(f.fileno()).st_size <= PACK_MAX, "pack of an impossible length")
            data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        if name not in self.hashed:
            self.hashed[name] = blake3(data).hexdigest() == name
            if not self.hashed[name]:
                Report.say(f"packs/{name}", "the bytes do not hash to the name; its good blocks are used all the same")
        self.files[name] = data
        while len(self.files) > 64:
            self.files.popitem(last=False)[1].close()
        return data

    def add_pack(self, name, writer, salt, commitment, directory, end_of_blocks):
        """Enter a pack's chunks, from the plain text of its directory."""
        directory = record(directory, DIRECTORY)
        kind = directory.get("kind", 0)
        if kind not in (DATA, TREES):
            raise Unsupported(f"kind of contents {kind}")
        key = self.pack_key(writer, salt, kind, commitment)
        need(key, "the pack's commitment does not match")
        r = Reader(directory.get("blocks", b"\0"))
        blocks, found, at = [], [], 96
        for number in range(r.varint()):
            flags, stored, plain, count = (r.varint() for _ in range(4))
            if flags >> 4 or flags > 1:
                raise Unsupported(f"block flags {flags}")
            need(stored > 16 and 0 < plain <= BLOCK_MAX, "block length out of range")
            need(flags & 15 or stored == plain + 16, "plain block whose lengths differ")
            inner = 0
            for _ in range(count):
                chunk_id, length = bytes(r.take(32)), r.varint()
                need(0 < length <= CHUNK_MAX, "chunk length out of range")
                found.append((chunk_id, number, inner, length))
                inner += length
            need(inner == plain, "chunk lengths do not add up to the block's")
            blocks.append(Block(number, flags & 15, at, stored, plain))
            at += stored
            need(at <= end_of_blocks, "blocks run into the directory")
        need(r.done(), "bytes after the block list")
        need(len(found) <= PACK_CHUNKS, "more chunks than a pack may have")
        pack = Pack(name, kind, key, self.pack_header(writer) + salt + bytes([kind]), blocks)
        for chunk_id, number, inner, length in found:
            self.chunks.setdefault((kind, chunk_id), []).append(Place(pack, number, inner, length))
        return pack, at

    def load_index(self):
        """Enter the packs that index/ names, less those with a tombstone."""
        removed = self.read_removals()
        objects = {name: (writer, index) for name, writer, index in self.all_small("index", INDEX)}
        replaced = {n.hex() for _, index in objects.values() for n in index.get("replaces", ())}
        seen = set()
        for name, (writer, index) in objects.items():
            for stored in index.get("snapshots", ()):
                self.snapshot_copies[blake3(stored).hexdigest()] = stored
            entries = index.get("packs", ())
            if len(entries) > INDEX_PACKS:
                Report.say(f"index/{name}", "more packs than an index object may have")
                continue
            try:
                entries = [raw for raw in entries if self.counts(raw, writer)]
            except (Damaged, Unsupported) as e:
                Report.say(f"index/{name}", f"refused, with all packs that it names: {e}")
                continue
            for raw in entries if name not in replaced else ():
                try:
                    pack, p = self.index_entry(raw)
                    if pack not in seen and pack not in removed:
                        self.add_pack(pack, p.get("writer", 0), p["salt"], p["commitment"], p.get("directory", b""), p["D"])
                        seen.add(pack)
                except (Damaged, Unsupported) as e:
                    Report.say(f"index/{name}", e)

    def index_entry(self, raw):
        """(name, record) of a pack that an index object names."""
        p = record(raw, INDEX_PACK)
        need({"name", "salt", "commitment"} <= p.keys(), "pack without name, salt or commitment")
        length, D, L = (p.get(field, 0) for field in ("length", "D", "L"))
        need(D >= 96 and length <= PACK_MAX and D + L + FOOTER_LEN == length, "pack lengths do not add up")
        need(p.get("writer", 0) < 1 << 32, "impossible number of a writer")
        return p["name"].hex(), p

    def counts(self, raw, writer):
        """Whether the pack itself says the same, where a writer speaks; its entries are proven while the pack's key is known."""
        name, p = self.index_entry(raw)
        maker = p.get("writer", 0)
        need(not writer or maker == writer, f"pack {name} is not the writer's own")
        if not maker:
            return True
        writer, is_held = maker, bool(writer)
        directory = p.get("directory", b"")
        kind = record(directory, DIRECTORY).get("kind", 0)
        if kind not in (DATA, TREES):
            raise Unsupported(f"kind of contents {kind}")
        key = self.pack_key(writer, p["salt"], kind, p["commitment"])
        need(key, f"the commitment of pack {name} does not match")
        proof = keyed(key, b"copal pack proof", p["name"], struct.pack("<QQ", p["length"], p["D"]), directory)
        need(hmac.compare_digest(p.get("proof", b""), proof), f"the proof of pack {name} does not hold")
        if not is_held:
            return True
        for end in self.ends_of_pack(name):
            if end == self.pack_header(writer) + p["salt"] + p["commitment"]:
                return True
            try:
                other = check_header(end, KINDS["packs"], self.id)
            except (Damaged, Unsupported):
                continue
            need(other == writer, f"pack {name} is of another maker")
        return False

    def ends_of_pack(self, name):
        """The first 96 bytes of a pack, and what its footer has of the same, as far as storage gives them."""
        try:
            with open(self.path("packs", name), "rb") as f:
                first, length = f.read(96), os.fstat(f.fileno()).st_size
                f.seek(max(0, length - FOOTER_LEN))
                return first, f.read(96)
        except OSError:
            return ()

    def read_removals(self):
        """Names of removed packs; packs marked for removal or damaged go to self.doubtful."""
        records = {name: r for name, _, r in self.all_small("removals", REMOVAL)}
        answered = {r["mark"].hex() for r in records.values() if r.get("state") in (2, 3) and "mark" in r}
        marked = {p.hex() for n, r in records.items() if r.get("state") == 1 and n not in answered for p in r.get("packs", ())}
        self.doubtful = marked | {p.hex() for _, _, d in self.all_small("damage", DAMAGE) for p in d.get("packs", ())}
        return {p.hex() for r in records.values() if r.get("state") == 2 for p in r.get("packs", ())}

    def load_packs(self):
        """Enter every pack by its own footer and directory."""
        removed = self.read_removals()
        for name in self.names("packs"):
            if name in removed:
                continue
            try:
                self.load_pack(name)
            except (Damaged, Unsupported, OSError) as e:
                Report.say(f"packs/{name}", e)

    def load_pack(self, name):
        data = self.pack_file(name)
        footer = data[-FOOTER_LEN:]
        header, salt, commitment = footer[:32], footer[32:64], footer[64:96]
        writer = check_header(header, KINDS["packs"], self.id)
        D, L, _ = struct.unpack("<QII", footer[96:112])
        need(footer[112:120] == b"COPALEND", "no footer")
        kind, key = next(((k, key) for k in (DATA, TREES) if (key := self.pack_key(writer, salt, k, commitment))), (None, None))
        need(key, "the pack's commitment does not match")
        if not hmac.compare_digest(keyed(key, footer[:120])[:24], footer[120:]):
            Report.say(f"packs/{name}", "the footer's hash differs; the directory's seal decides")
        need(D >= 96 and L >= 16 and D + L + FOOTER_LEN == len(data), "footer lengths do not add up")
        if data[:96] != footer[:96]:
            Report.say(f"packs/{name}", "the beginning differs from the footer")
        try:
            plain = ChaCha20Poly1305(key).decrypt(struct.pack("<QI", U64 - 1, 1), data[D:D + L],
                                                  header + salt + bytes([kind]) + struct.pack("<Q", D))
        except InvalidTag:
            raise Damaged("the directory does not verify") from None
        need(record(plain, DIRECTORY).get("kind", 0) == kind, "directory of another kind of contents")
        _, end = self.add_pack(name, writer, salt, commitment, plain, D)
        if data[end:D] != keyed(key, b"copal pack padding", length=D - end):
            Report.say(f"packs/{name}", "the padding is not what it should be")

    def block(self, pack, number):
        """Plain bytes of a block, kept for a while."""
        if (pack.name, number) in self.plain:
            self.plain.move_to_end((pack.name, number))
            return self.plain[pack.name, number]
        b, data = pack.blocks[number], self.pack_file(pack.name)
        need(b.offset + b.stored <= len(data), "the pack is too short")
        try:
            opened = ChaCha20Poly1305(pack.key).decrypt(
                struct.pack("<QI", number, 0), data[b.offset:b.offset + b.stored],
                pack.associated + struct.pack("<Q", number))
        except InvalidTag:
            raise Damaged(f"block {number} does not verify") from None
        plain = decompress(b.codec, opened, b.plain, BLOCK_MAX)
        self.plain[pack.name, number] = plain
        while len(self.plain) > 48:
            self.plain.popitem(last=False)
        return plain

    def chunk(self, kind, chunk_id):
        """A chunk's bytes; every place that has it is tried until one verifies."""
        wrong = []
        places = self.chunks.get((kind, chunk_id), ())
        for place in sorted(places, key=lambda p: p.pack.name in self.doubtful) if len(places) > 1 else places:
            try:
                data = self.block(place.pack, place.block)[place.offset:place.offset + place.length]
                need(hmac.compare_digest(keyed(self.chunk_keys[kind], data), chunk_id), "chunk does not match its id")
                return data
            except (Damaged, Unsupported, OSError) as e:
                wrong.append(f"pack {place.pack.name}: {e}")
        raise Damaged("; ".join(wrong) or f"{'tree' if kind else 'chunk'} {chunk_id.hex()} is nowhere")

    # ---- snapshots (section 8)
    def snapshots(self):
        """name -> snapshot record with 'confirmed', effective tags and notes added; oldest first."""
        confirmed = {}
        for name, writer, c in self.all_small("confirmed", CONFIRMED):
            if c.get("snapshot", b"").hex() == name:
                confirmed[name] = writer, c
            else:
                Report.say(f"confirmed/{name}", "speaks of another snapshot")
        found = {}
        for name in sorted({*self.names("snapshots"), *(confirmed.keys() & self.snapshot_copies.keys())}):
            try:
                try:
                    data = self.load("snapshots", name)
                except (OSError, Damaged):
                    if name not in self.snapshot_copies:
                        raise
                    data = self.snapshot_copies[name]
                writer, s = self.small_record(data, KINDS["snapshots"], SNAPSHOT)
                if writer:
                    s["writer"] = writer
                by, c = confirmed.get(name, (None, {}))
                s["confirmed"] = by in (0, writer)
                if by not in (None, 0, writer):
                    Report.say(f"confirmed/{name}", "is of a writer that did not make the snapshot, and confirms nothing")
                elif by is not None and s.get("session") != c.get("session"):
                    Report.say(f"confirmed/{name}", "was written by another session than its snapshot")
                found[name] = s
            except (Damaged, Unsupported, OSError) as e:
                Report.say(f"snapshots/{name}", e)
        for name in confirmed.keys() - found.keys():
            Report.say(f"snapshots/{name}", "confirmed but not readable")
        self.apply_notes(found)
        return dict(sorted(found.items(), key=lambda x: (x[1].get("time", 0), x[1].get("client", b""), x[1].get("sequence", 0))))

    def apply_notes(self, found):
        """Let notes count that no other supersedes; where several do, the safe verb."""
        groups = {3: "protect", 4: "protect", 5: "forget", 6: "forget", 7: "describe"}
        notes = {name: n for name, _, n in self.all_small("notes", NOTE)}

        def speaks_of(n):
            """What a note speaks of: each of its tags by itself, or one thing."""
            verb = n.get("verb")
            things = [("tag", t) for t in n.get("texts", ())] if verb in (1, 2) else [groups.get(verb)]
            return [(n.get("snapshot"), thing) for thing in things]

        superseded = {(r.hex(), thing) for n in notes.values() for r in n.get("read", ()) for thing in speaks_of(n)}
        left = [(thing, n) for name, n in notes.items() for thing in speaks_of(n) if (name, thing) not in superseded]
        for s_name, s in found.items():
            standing = [(thing, n) for (snapshot, thing), n in left if snapshot is not None and snapshot.hex() == s_name]
            added, removed = ({thing[1] for thing, n in standing if n.get("verb") == verb} for verb in (1, 2))
            verbs = {n.get("verb") for _, n in standing}
            described = [t for _, n in standing if n.get("verb") == 7 for t in n.get("texts", ())]
            tags = [t for t in s.get("tags", []) if t not in removed or t in added]
            s["tags"] = tags + sorted(added - set(tags))
            s["protected"] = 3 in verbs
            s["forgotten"] = 5 in verbs and 6 not in verbs and not s["protected"]
            if described:
                s["description"] = sorted(described)[0]

    # ---- trees (section 7)
    def nodes(self, tree_id, where, level=None, count=None, after=b"", last=None):
        """The nodes of a directory in order; pages and nodes that are refused are reported."""
        try:
            page = record(self.chunk(TREES, tree_id), PAGE)
            need("level" in page, "tree page without a level")
            own, elements = page["level"], page.get("list", [])
            need(own <= LEVEL_MAX and own == (own if level is None else level), "tree page of a wrong level")
            need(len(elements) <= PAGE_MAX and (elements or (own == 0 and level is None)), f"page of {len(elements)} entries")
            out, previous = [], after
            for raw in elements:
                if own == 0:
                    e = self.node(raw, previous, where)     # one that is refused costs itself alone
                    previous = previous if e is None else e["name"]
                else:
                    e = record(raw, PAGE_ENTRY)
                    need(e.get("last", b"") > previous, "names out of order or double")
                    previous = e["last"]
                    need("id" in e and e.get("count", 0) > 0, "page entry without an id or count")
                out.append(e)
            if own == 0:
                need(count in (None, len(out)) and (last is None or name_of(elements[-1]) in (None, last)),
                     "the page above says otherwise")
            else:
                total = sum(e["count"] for e in out)
                need(total < U64 and count in (None, total) and last in (None, previous), "the page above says otherwise")
        except (Damaged, Unsupported) as e:
            Report.say(where, f"directory page {tree_id.hex()[:16]}: {e}")
            return
        if own == 0:
            yield from (e for e in out if e is not None)
            return
        for e in out:
            yield from self.nodes(e["id"], where, own - 1, e["count"], after, e["last"])
            after = e["last"]

    def node(self, raw, previous, where):
        """A node that keeps the rules and comes after the last one that did; None, and a word of it, for any other."""
        try:
            need(len(raw) <= NODE_MAX, f"{len(raw)} bytes long, more than a node may be")
            e = record(raw, NODE)
            name = e.get("name", b"")
            need(1 <= len(name) <= NAME_MAX and b"/" not in name and b"\0" not in name and name not in (b".", b".."),
                 "impossible name")
            need(name > previous, "names out of order or double")
            need(e.get("mode", 0) <= 0o7777, "impossible mode")
            names = [b"", *(x.get("name", b"") for x in e.get("xattrs", ()))]
            need(all(a < b and b"\0" not in b and len(b) <= XATTR_NAME_MAX for a, b in zip(names, names[1:])),
                 "xattrs out of order, double or with an impossible name")
            return e
        except (Damaged, Unsupported) as x:
            Report.say(where, f"entry {name_of(raw)!r}: {x}")
            return None

    def segments(self, node):
        """(offset, length, type, id) of a file; lengths are proven to add up to its size."""
        size, offset = node.get("size", 0), 0
        need(size < 1 << 63, "size out of range")
        need("segments" not in node or "content" not in node, "both segments and a content page")
        need(size or "content" not in node, "content page of an empty file")
        source = self.content_page(node["content"], size, None) if "content" in node else parse_segments(node.get("segments"))
        for length, kind, chunk_id in source:
            need(length <= size - offset, "segments longer than the file")
            yield offset, length, kind, chunk_id
            offset += length
        need(offset == size, "segments do not add up to the size")

    def content_page(self, page_id, covered, level, is_last=True):
        page = record(self.chunk(TREES, page_id), CONTENT)
        need("level" in page, "content page without a level")
        own = page["level"]
        need(own <= LEVEL_MAX and (level is None or own == level), "content page of a wrong level")
        if own == 0:
            parts = parse_segments(page.get("segments"))
            need(is_last or len(parts) >= SEGMENTS_PAGE_MIN, "content page of few entries amid others")
            need(sum(p[0] for p in parts) == covered, "content page covers another length")
            yield from parts
            return
        entries = page.get("list", [])
        need(sum(e.get("length", 0) for e in entries) == covered, "content page covers another length")
        need(is_last or len(entries) >= SEGMENTS_PAGE_MIN, "content page of few entries amid others")
        for place, e in enumerate(entries, 1):
            need("id" in e and e.get("length", 0) > 0, "content entry without id or length")
            yield from self.content_page(e["id"], e["length"], own - 1, is_last and place == len(entries))


def name_of(raw):
    """The name in a node of which more can perhaps not be read, or None."""
    try:
        r = Reader(raw)
        return bytes(r.take(r.varint())) if r.varint() >> 1 == 1 else None
    except Damaged:
        return None


def parse_segments(data):
    r = Reader(data or b"\0")
    out = []
    count = r.varint()
    need(count <= SEGMENTS_INLINE, "more segments than fit")
    for _ in range(count):
        head = r.varint()
        length, kind = head >> 2, head & 3
        need(length > 0 and kind < 3, "impossible segment")
        need(kind or length <= CHUNK_MAX, "segment longer than a chunk")
        out.append((length, kind, bytes(r.take(32)) if kind == 0 else None))
    need(r.done(), "bytes after the segments")
    for (length, kind, _), (_, after, _) in zip(out, out[1:]):
        least = SEGMENT_MIN if after == 0 else SEGMENT_MAX if kind else 1
        need(length >= least, "segments shorter or more than any file needs")
    return out


# ---------------------------------------------------------------- restoring
FILE, FOLDER, SYMLINK, FIFO, SOCKET, CHAR, BLOCK, UNREADABLE = range(1, 9)
SPECIAL = {FIFO: stat.S_IFIFO, SOCKET: stat.S_IFSOCK, CHAR: stat.S_IFCHR, BLOCK: stat.S_IFBLK}
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Restorer:
    """Makes a snapshot's tree below a folder; holds one folder open however deep it goes."""

    def __init__(self, repository):
        self.repository, self.root = repository, os.geteuid() == 0
        self.links = {}                       # a linked node but its name -> path components of its first member
        self.flags = []                       # (path components, inode flags), set last

    def run(self, root_tree, target):
        os.makedirs(target, exist_ok=True)
        if os.listdir(target):
            raise Fatal(f"{target}: is not empty")
        if root_tree is None:
            raise Fatal("the snapshot names no root tree")
        self.top = os.open(target, OPEN_FOLDER)
        here = os.dup(self.top)
        # one entry for each open folder: its node (None for the top), its nodes to come, its name in the path
        stack, path = [(None, self.folder_nodes(root_tree, ()))], []
        while stack:
            node = next(stack[-1][1], None)
            if node is not None:
                try:
                    entered = self.make(here, node, path)
                except (Damaged, Unsupported, OSError) as e:
                    Report.say(b"/".join([*path, node.get("name", b"?")]), e)
                    continue
                if entered is not None:
                    os.close(here)
                    here = entered
                    path.append(node["name"])
                    stack.append((node, self.folder_nodes(node.get("tree"), path)))
                continue
            done, _ = stack.pop()
            if stack:                                   # back up, then the folder's own metadata
                up = os.open("..", OPEN_FOLDER, dir_fd=here)
                os.close(here)
                here = up
                name = path.pop()
                self.metadata(here, done, [*path, name])
        os.close(here)
        self.set_flags()

    def folder_nodes(self, tree, path):
        return self.repository.nodes(tree, b"/".join(path))

    def make(self, here, node, path):
        """Make one entry in the folder `here`; for a folder return it opened."""
        name, kind = node["name"], node.get("type", 0)
        full = [*path, name]
        if kind == UNREADABLE:
            Report.say(b"/".join(full), f"could not be read when it was saved (reason {node.get('error', 0)}): not restored")
            return None
        if kind == FOLDER:
            need(len(path) < DEPTH_MAX, "too deep")
            need("tree" in node, "folder without a tree")
            os.mkdir(name, 0o700, dir_fd=here)
            return os.open(name, OPEN_FOLDER, dir_fd=here)
        if kind not in (FILE, SYMLINK, *SPECIAL):
            raise Unsupported(f"node of type {kind}")
        group = node.get("link")
        if group is not None:                   # one file only where all but the name is equal
            group = repr(sorted((k, v) for k, v in node.items() if k != "name"))
            if group in self.links:
                self.link(self.links[group], here, name)
                return None
        if kind == FILE:
            self.file(here, node, full)
        elif kind == SYMLINK:
            target = node.get("target", b"")
            need(0 < len(target) <= SYMLINK_MAX and b"\0" not in target, "impossible symlink target")
            os.symlink(target, name, dir_fd=here)
        else:
            os.mknod(name, SPECIAL[kind] | 0o600, os.makedev(node.get("major", 0), node.get("minor", 0)), dir_fd=here)
        if group is not None:
            self.links[group] = full
        self.metadata(here, node, full)
        return None

    def open_parent(self, full):
        """Open the folder of a path below the target, one component at a time."""
        at = os.dup(self.top)
        for component in full[:-1]:
            below = os.open(component, OPEN_FOLDER, dir_fd=at)
            os.close(at)
            at = below
        return at

    def link(self, first, here, name):
        parent = self.open_parent(first)
        try:
            os.link(first[-1], name, src_dir_fd=parent, dst_dir_fd=here, follow_symlinks=False)
        finally:
            os.close(parent)

    def file(self, here, node, full):
        """Write a file's data where it has data; holes stay holes."""
        where = b"/".join(full)
        fd = os.open(node["name"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=here)
        try:
            os.ftruncate(fd, node.get("size", 0))
            if "error" in node:
                Report.say(where, f"changed while it was saved (reason {node['error']})")
            try:
                for offset, length, kind, chunk_id in self.repository.segments(node):
                    if kind == 0:
                        try:
                            data = self.repository.chunk(DATA, chunk_id)
                            need(len(data) == length, "chunk of another length than the segment")
                        except Damaged as e:
                            Report.say(where, f"{length} bytes at {offset} are lost: {e}")
                            continue
                        while data:
                            n = os.pwrite(fd, data, offset)
                            data, offset = data[n:], offset + n
                    elif kind == 2:
                        Report.say(where, f"gap: {length} bytes at {offset} had been lost before")
            except (Damaged, Unsupported) as e:
                Report.say(where, e)
        finally:
            os.close(fd)

    def metadata(self, here, node, full):
        """Owner, xattrs, mode, mtime; in the order in which none undoes another."""
        name, where, is_link = node["name"], b"/".join(full), node["type"] == SYMLINK
        mode, owner = node.get("mode", 0), (node.get("uid", 0), node.get("gid", 0))
        steps, acls = [], []
        if self.root:
            try:
                os.chown(name, *owner, dir_fd=here, follow_symlinks=False)
            except OSError as e:
                Report.say(where, e)
        now = os.stat(name, dir_fd=here, follow_symlinks=False)
        if now.st_uid != owner[0]:
            mode &= ~stat.S_ISUID
        if now.st_gid != owner[1] and node["type"] != FOLDER:
            mode &= ~stat.S_ISGID
        for x in node.get("xattrs", ()):
            late = x["name"].startswith(b"system.posix_acl_")
            (acls if late else steps).append(functools.partial(self.xattr, here, name, x))
        steps += acls
        if not is_link:
            steps.append(lambda: os.chmod(name, mode, dir_fd=here))
        mtime = node.get("mtime", 0)
        steps.append(lambda: os.utime(name, ns=(mtime, mtime), dir_fd=here, follow_symlinks=False))
        for step in steps:
            try:
                step()
            except (Damaged, OSError) as e:
                Report.say(where, e)
        for what in node.get("not_read", ()):
            Report.say(where, f"its {what} could not be read when it was saved")
        if node.get("flags", 0) & FLAGS_KEPT and node["type"] in (FILE, FOLDER):
            self.flags.append((full, node["flags"] & FLAGS_KEPT))

    def xattr(self, here, name, x):
        value = x.get("value", b"")
        if "id" in x:
            need("value" not in x, "xattr with value and chunk")
            value = self.repository.chunk(DATA, x["id"])
            need(len(value) == x.get("length", 0), "xattr of another length than its chunk")
        path = b"/proc/self/fd/%d/%s" % (here, name)
        try:
            os.setxattr(path, x["name"], value, follow_symlinks=False)
        except OSError as e:
            raise OSError(e.errno, f"xattr {x['name']!r}: {e.strerror}") from None

    def set_flags(self):
        """Inode flags last and from the deepest, as they may forbid every other change."""
        for full, flags in sorted(self.flags, key=lambda f: -len(f[0])):
            try:
                parent = self.open_parent(full)
                try:
                    fd = os.open(full[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
                finally:
                    os.close(parent)
                try:
                    now = struct.unpack("I", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(4)))[0]
                    fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("I", now & ~FLAGS_KEPT | flags))
                finally:
                    os.close(fd)
            except OSError as e:
                if e.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
                    Report.say(b"/".join(full), f"inode flags: {e}")


# ---------------------------------------------------------------- command line
def printable(value):
    if isinstance(value, bytes):
        return os.fsdecode(value)
    if isinstance(value, list):
        return [printable(v) for v in value]
    return value


def listing(snapshots):
    hexed = {"root", "client", "previous", "parent", "session", "options_digest", "removals", "state", "stands_for"}
    out = []
    for name, s in snapshots.items():
        shown = {"name": name}
        for k, v in s.items():
            if k in hexed:
                v = [x.hex() for x in v] if isinstance(v, list) else v.hex()
            shown[{"time": "time_ns"}.get(k, k)] = printable(v)
        out.append(shown)
    return json.dumps(out, indent=1)


def main():
    parser = argparse.ArgumentParser(description="Restore from a copal repository of format version 1.")
    parser.add_argument("repository")
    keys = parser.add_mutually_exclusive_group(required=True)
    keys.add_argument("--key-file")
    keys.add_argument("--password-file")
    parser.add_argument("target", nargs="?")
    parser.add_argument("--packs-only", action="store_true", help="find chunks by the packs' own directories")
    parser.add_argument("--snapshot", default="", help="beginning of a snapshot's name, instead of the newest")
    parser.add_argument("--list", action="store_true", help="print the snapshots as JSON")
    a = parser.parse_intermixed_args()
    if (a.target is None) != a.list:
        parser.error("either TARGET or --list")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    try:
        repository = Repository(a.repository, a.key_file, a.password_file)
        if a.packs_only:
            repository.load_packs()
        else:
            repository.load_index()
        repository.open_config()
        snapshots = repository.snapshots()
        if a.list:
            print(listing(snapshots))
            return 1 if Report.count else 0
        chosen = [n for n, s in snapshots.items() if s["confirmed"] and n.startswith(a.snapshot)
                  and not (s.get("forgotten") and not a.snapshot)]
        if not chosen:
            raise Fatal("there is no such confirmed snapshot")
        s = snapshots[chosen[-1]]
        if s.get("flags", 0) & 1:
            Report.say(chosen[-1], "this snapshot is incomplete: something was unreadable")
        Restorer(repository).run(s.get("root"), a.target)
        print(f"snapshot {chosen[-1]} restored, {Report.count} remarks", file=sys.stderr)
    except (Fatal, OSError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    return 1 if Report.count else 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
