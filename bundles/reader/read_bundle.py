#!/usr/bin/env python3
"""Reads bundles, trust sets and tokens of bfp: another reader than the enforcer's, in another language.

It was written from docs/format.md and from nothing else, and follows that page section by section. `check.py`
holds it against the vectors and the verdict tables. It is for reading: no host enforces anything by it.

    read_bundle.py FILE --key KEY.pem [--key …] [--threshold N] [--now SECONDS] [--label L …] [--offer N …]

prints what the bundle holds, as JSON, or why it is refused, with exit status 3.
"""

import argparse
import hashlib
import ipaddress
import json
import struct
import sys
import time

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key


class Refusal(Exception):
    """A file is not believed. `kind` is a class of the page's table of refusals."""

    def __init__(self, kind, detail=""):
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind


# --- limits ---------------------------------------------------------------------------------------

MAX_FILE = 512 << 20
MAX_BODY = 64 << 10
MAX_SIGNATURES = 32
MAX_LABELS = MAX_NEEDS = MAX_SECTIONS = 64
MAX_PARAMETERS = 64
MAX_KEYS = 32
MAX_REVOKED = 1024

# --- the frame ------------------------------------------------------------------------------------

MAGIC = {"bundle": b"BFPB\r\n\x1a\n", "trust set": b"BFPT\r\n\x1a\n", "token": b"BFPK\r\n\x1a\n"}


class Frame:
    def __init__(self, document, data):
        if len(data) > MAX_FILE:
            raise Refusal("oversize", "the file")
        if len(data) < 8:
            raise Refusal("truncated", "the header")
        if data[:8] != MAGIC[document]:
            raise Refusal("magic")
        if len(data) < 24:
            raise Refusal("truncated", "the header")
        version, body, signatures, reserved = struct.unpack("<4I", data[8:24])
        if version not in ((1, 2) if document == "bundle" else (1,)):
            raise Refusal("version", str(version))
        self.version = version
        if reserved != 0:
            raise Refusal("reserved")
        if body > MAX_BODY:
            raise Refusal("oversize", "the body")
        if signatures > MAX_SIGNATURES:
            raise Refusal("oversize", "the signatures")
        end = 24 + body
        if len(data) < end:
            raise Refusal("truncated", "the body")
        rest = end + 80 * signatures
        if len(data) < rest:
            raise Refusal("truncated", "the signatures")
        if document != "bundle" and len(data) > rest:
            raise Refusal("trailing", f"{len(data) - rest} bytes")
        self.payload = f"bfp {document}, format 1".encode() + b"\0" + hashlib.sha256(data[24:end]).digest()
        self.body = data[24:end]
        self.signatures = [(data[at : at + 16], data[at + 16 : at + 80]) for at in range(end, rest, 80)]
        self.rest = data[rest:]

    def check_signatures(self, trusts):
        signers = []
        for key_id, signature in self.signatures:
            key = next((trust.keys[key_id] for trust in trusts if key_id in trust.keys), None)
            if key is None:
                is_revoked = any(key_id in trust.revoked for trust in trusts)
                raise Refusal("revoked-key" if is_revoked else "unknown-key", key_id.hex())
            if key_id in signers:
                raise Refusal("duplicate-key", key_id.hex())
            if not holds(key, signature, self.payload):
                raise Refusal("signature", key_id.hex())
            signers.append(key_id)
        for trust in trusts:
            found = sum(signer in trust.keys for signer in signers)
            if found < trust.threshold:
                raise Refusal("threshold", f"{found} of {trust.threshold}")
        return signers

    def check_threshold(self, trust):
        found = {
            key_id
            for key_id, signature in self.signatures
            if key_id in trust.keys and holds(trust.keys[key_id], signature, self.payload)
        }
        if len(found) < trust.threshold:
            raise Refusal("threshold", f"{len(found)} of {trust.threshold}")


# --- signatures -----------------------------------------------------------------------------------

# The curve of RFC 8032, section 5.1.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


def point(encoded):
    """The point (x, y) of 32 bytes, or None."""
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * ROOT_OF_MINUS_1 % P
    if x * x % P != square:
        return None
    if x == 0 and sign:
        return None
    return (P - x if x & 1 != sign else x) % P, y


def doubled(of):
    x, y = of
    product = D * x * x * y * y % P
    return (
        2 * x * y * pow(1 + product, P - 2, P) % P,
        (y * y + x * x) * pow(1 - product, P - 2, P) % P,
    )


def is_strong(encoded):
    """Whether 32 bytes are a point, and not one of small order."""
    at = point(encoded)
    if at is None:
        return False
    for _ in range(3):
        at = doubled(at)
    return at != (0, 1)


def holds(key, signature, payload):
    if int.from_bytes(signature[32:], "little") >= ORDER or not is_strong(signature[:32]):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, payload)
        return True
    except InvalidSignature:
        return False


# --- postcard -------------------------------------------------------------------------------------


class Undecodable(Exception):
    pass


class Postcard:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Undecodable("it ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self, bits):
        value = 0
        for place in range((bits + 6) // 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                if value >> bits:
                    raise Undecodable("a number is too large")
                return value
        raise Undecodable("a number is too long")

    def u16(self):
        return self.varint(16)

    def u32(self):
        return self.varint(32)

    def u64(self):
        return self.varint(64)

    def bool(self):
        byte = self.take(1)[0]
        if byte > 1:
            raise Undecodable("neither true nor false")
        return byte == 1

    def string(self):
        try:
            return self.take(self.u64()).decode("utf-8")
        except UnicodeDecodeError:
            raise Undecodable("not UTF-8") from None

    def list(self, element, most=None):
        count = self.u64()
        # An element has a byte at least, so a list cannot have more than there are.
        if most is not None and count > most or count > len(self.data) - self.at:
            raise Undecodable("too many elements")
        return [element() for _ in range(count)]

    def option(self, value):
        return value() if self.bool() else None

    def digest(self):
        return self.take(32)

    def strings(self):
        return self.string(), self.string()

    def variant(self, count):
        number = self.u32()
        if number >= count:
            raise Undecodable("no such variant")
        return number


def decoded(data, read, kind):
    """All of `data`, as `read` reads it."""
    try:
        reader = Postcard(data)
        value = read(reader)
        if reader.at != len(data):
            raise Undecodable("bytes are left over")
        return value
    except Undecodable as reason:
        raise Refusal(kind, str(reason)) from None


# --- the manifest ---------------------------------------------------------------------------------

NEEDS = {
    1: "BPF LSM",
    2: "digests of executables",
    3: "raw sockets",
    4: "digests of libraries",
    5: "grants to all programs but some",
    6: "programs in units",
    7: "answers",
}

SECTIONS = {
    1: ("policy", 32),
    2: ("nodes32", 128),
    3: ("nodes128", 320),
    4: ("cells", 16),
    5: ("programs", 80),
    6: ("pairs", 80),
    7: ("executables", 0),
    8: ("debug", 0),
    9: ("names", 32),
    10: ("name_buckets", 48),
    11: ("name_table", 16),
    12: ("name_words", 8),
    13: ("name_states", 16),
    14: ("name_steps", 48),
    15: ("matches", 80),
}


def kinds(version):
    """The kinds of sections of a format."""
    return {kind: section for kind, section in SECTIONS.items() if version > 1 or kind <= 8}


def read_section_entry(reader):
    return {
        "kind": reader.u16(),
        "key_size": reader.u32(),
        "value_size": reader.u32(),
        "count": reader.u32(),
        "length": reader.u64(),
        "digest": reader.digest(),
    }


def read_manifest(reader):
    manifest = {
        "policy": reader.string(),
        "revision": reader.u64(),
        "not_before": reader.option(reader.u64),
        "expires": reader.option(reader.u64),
        "audience": reader.list(reader.string, MAX_LABELS),
        "lockdown": reader.bool(),
        "source": reader.digest(),
        "lock": reader.digest(),
        "compiler": reader.string(),
        "needs": reader.list(reader.u16, MAX_NEEDS),
        "sections": reader.list(lambda: read_section_entry(reader), MAX_SECTIONS),
        "parameters": [],
    }
    if reader.at < len(reader.data):
        manifest["parameters"] = reader.list(reader.strings, MAX_PARAMETERS)
        if not manifest["parameters"]:
            raise Undecodable("an empty list of parameters")
    return manifest


# --- the trust set --------------------------------------------------------------------------------


class Trust:
    """A trust set that can be followed."""

    def __init__(self, version, threshold, keys, revoked):
        if not all(is_strong(key) for key in keys):
            raise Refusal("trust-set", "a key is none")
        if not keys or threshold == 0:
            raise Refusal("trust-set", "no key or no threshold")
        if threshold > len(keys):
            raise Refusal("trust-set", "the threshold cannot be met")
        if len(keys) > MAX_KEYS:
            raise Refusal("trust-set", "too many keys")
        if len(revoked) > MAX_REVOKED:
            raise Refusal("trust-set", "too many revoked keys")
        self.version, self.threshold, self.revoked = version, threshold, set(revoked)
        self.keys = {hashlib.sha256(key).digest()[:16]: key for key in keys}
        if len(self.keys) < len(keys):
            raise Refusal("trust-set", "a key twice")
        if self.revoked & self.keys.keys():
            raise Refusal("trust-set", "it has a key that it revokes")


def read_trust_set(reader):
    return {
        "version": reader.u64(),
        "threshold": reader.u16(),
        "keys": reader.list(reader.digest, MAX_KEYS),
        "revoked": reader.list(lambda: reader.take(16), MAX_REVOKED),
    }


def verify_trust_set(data, in_force):
    frame = Frame("trust set", data)
    frame.check_threshold(in_force)
    new = Trust(**decoded(frame.body, read_trust_set, "body"))
    frame.check_signatures([in_force, new])
    if new.version != in_force.version + 1:
        raise Refusal("trust-version", f"{new.version} after {in_force.version}")
    if in_force.revoked - new.revoked:
        raise Refusal("forgotten-revocation")
    return new


# --- the token ------------------------------------------------------------------------------------


def read_token(reader):
    if reader.variant(2) == 0:
        act = {"release": reader.u64()}
    else:
        act = {"recover": {"from": reader.u64(), "to": reader.u64()}}
    return {
        "act": act,
        "policy": reader.string(),
        "audience": reader.list(reader.string, MAX_LABELS),
        "not_before": reader.option(reader.u64),
        "expires": reader.u64(),
    }


def verify_token(data, trust, host):
    frame = Frame("token", data)
    frame.check_signatures([trust])
    token = decoded(frame.body, read_token, "body")
    host.check(token)
    return token


# --- the order of checks --------------------------------------------------------------------------


class Host:
    def __init__(self, now, labels, offers):
        self.now, self.labels, self.offers = now, labels, offers

    def check(self, claims):
        if claims["not_before"] is not None and self.now < claims["not_before"]:
            raise Refusal("early")
        if claims["expires"] is not None and self.now >= claims["expires"]:
            raise Refusal("expired")
        if claims["audience"] and not set(claims["audience"]) & set(self.labels):
            raise Refusal("audience", str(claims["audience"]))

    def check_needs(self, needs):
        for need in needs:
            if need not in NEEDS:
                raise Refusal("unknown-need", str(need))
            if need not in self.offers:
                raise Refusal("unmet-need", NEEDS[need])


def cut(version, entries, rest):
    """The bytes of each section, by its name."""
    sections, known = {}, kinds(version)
    for entry in entries:
        if entry["kind"] not in known:
            raise Refusal("unknown-section", str(entry["kind"]))
        name, size = known[entry["kind"]]
        if name in sections:
            raise Refusal("duplicate-section", name)
        sizes = (entry["key_size"], entry["value_size"])
        fits = sizes == ((4, size) if size else (0, 0))
        fits = fits and (entry["count"] * size == entry["length"] if size else entry["count"] == 0)
        if not fits:
            raise Refusal("section-size", name)
        if entry["length"] > len(rest):
            raise Refusal("truncated", name)
        section, rest = rest[: entry["length"]], rest[entry["length"] :]
        if hashlib.sha256(section).digest() != entry["digest"]:
            raise Refusal("section-digest", name)
        sections[name] = section
    if rest:
        raise Refusal("trailing", f"{len(rest)} bytes")
    for name, _ in known.values():
        if name not in sections:
            raise Refusal("missing-section", name)
    return sections


def verify_bundle(data, trust, host):
    frame = Frame("bundle", data)
    signers = frame.check_signatures([trust])
    manifest = decoded(frame.body, read_manifest, "body")
    host.check(manifest)
    host.check_needs(manifest["needs"])
    sections = cut(frame.version, manifest["sections"], frame.rest)
    return Bundle(frame.version, manifest, signers, sections)


# --- records --------------------------------------------------------------------------------------

ADDRESS_DONE, PORT_DONE, INDEX = 1 << 31, 1 << 30, (1 << 30) - 1
PORT_LEVELS, ADDRESS_LEVELS = 4, 6

POLICY = ("root_v4", "root_v6", "flags", "program_mask", "pair_mask", "default_rule", "raw_cell", "reserved")


def numbers(form, section):
    return list(struct.iter_unpack("<" + form, section))


class Bundle:
    """What a verified bundle holds. Its structure is checked here."""

    def __init__(self, version, manifest, signers, sections):
        self.version, self.manifest, self.signers, self.sections = version, manifest, signers, sections
        policy = numbers("8I", sections["policy"])
        if len(policy) != 1:
            raise Refusal("image-count", "policy")
        self.policy = dict(zip(POLICY, policy[0]))
        self.cells = numbers("4I", sections["cells"])
        # A bucket, as its four entries.
        self.programs = [
            list(zip(row[0:4], row[4:8], row[8:12], row[12:16])) for row in numbers("4Q12I", sections["programs"])
        ]
        self.pairs = [
            list(zip(row[0:4], row[4:8], row[8:12], row[12:16], row[16:20])) for row in numbers("20I", sections["pairs"])
        ]
        for name, mask in (("programs", "program_mask"), ("pairs", "pair_mask")):
            count = len(getattr(self, name))
            if count != self.policy[mask] + 1 or count & (count - 1):
                raise Refusal("image-count", name)
        if self.policy["raw_cell"] >= len(self.cells):
            raise Refusal("image-structure", "the raw cell")
        self.check_trees()
        read = read_executables if version > 1 else read_old_executables
        self.executables = decoded(sections["executables"], read, "image-undecodable")
        if version > 1:
            self.matches = [
                {"program": row[0], "flags": row[1], "count": row[2], "restricted": list(row[3:])}
                for row in numbers("Q2I8Q", sections["matches"])
            ]
            if len(self.matches) != len(self.executables):
                raise Refusal("image-count", "matches")
            if any(record["count"] > 8 for record in self.matches):
                raise Refusal("image-structure", "matches")
            self.read_names()
        else:
            self.matches = [alone(entry) for entry in self.executables]

    def read_names(self):
        roots = numbers("8I", self.sections["names"])
        if len(roots) != 1:
            raise Refusal("image-count", "names")
        self.names = dict(zip(("start", "bucket_mask", "step_mask", "flags", "elsewhere"), roots[0]))
        # A bucket, as its four entries.
        self.name_buckets = [list(zip(row[:4], row[4:])) for row in numbers("4Q4I", self.sections["name_buckets"])]
        self.name_table = [row[:3] for row in numbers("4I", self.sections["name_table"])]
        self.name_states = [row[:4] for row in numbers("4I", self.sections["name_states"])]
        self.name_steps = [list(zip(row[:4], row[4:])) for row in numbers("4Q4I", self.sections["name_steps"])]
        states, words = len(self.name_states), len(self.sections["name_words"]) // 8
        for name, mask in (("name_buckets", "bucket_mask"), ("name_steps", "step_mask")):
            count = len(getattr(self, name))
            if count != self.names[mask] + 1 or count & (count - 1):
                raise Refusal("image-count", name)
        if self.names["start"] >= states or self.names["elsewhere"] >= states:
            raise Refusal("image-structure", "names")
        if self.name_states[0][:2] != (0, 0):
            raise Refusal("image-structure", "name_states")
        if any(name > len(self.name_table) for bucket in self.name_buckets for _, name in bucket):
            raise Refusal("image-structure", "name_buckets")
        for first, length, _ in self.name_table:
            if not 1 <= length <= 255 or first + (length + 7) // 8 > words:
                raise Refusal("image-structure", "name_table")
        for otherwise, accept, flags, star_start in self.name_states:
            if otherwise >= states or star_start >= states or not flags & STATE_BYTES and accept > len(self.executables):
                raise Refusal("image-structure", "name_states")
        if any(step >= states for bucket in self.name_steps for _, step in bucket):
            raise Refusal("image-structure", "name_steps")

    # --- which executable a file is ---------------------------------------------------------------

    def next_state(self, state, symbol):
        key = state << 32 | symbol
        for bucket in (part & self.names["step_mask"] for part in hashes(key)):
            for entry, step in self.name_steps[bucket]:
                if entry == key and entry != 0:
                    return step
        return self.name_states[state][0]

    def symbol(self, state, component):
        wanted = name_hash(component)
        for bucket in (part & self.names["bucket_mask"] for part in hashes(wanted)):
            for entry, name in self.name_buckets[bucket]:
                if entry == wanted and name != 0:
                    first, length, symbol = self.name_table[name - 1]
                    if self.sections["name_words"][8 * first : 8 * first + length] == component:
                        return symbol
        at = self.name_states[state][3]
        for byte in component:
            if at == 0:
                break
            at = self.next_state(at, byte)
        return self.name_states[at][1]

    def match_of(self, path):
        """What becomes of a process that executes the file at a path, `PATH` or `PATH in unit CGROUP`, or None."""
        path, _, unit = path.partition(" in unit ")
        components = path.encode().split(b"/")[1:]
        if self.version == 1:
            found = [record for entry, record in zip(self.executables, self.matches) if is_at(entry["path"], path)]
            return together(found)
        state = self.names["start"]
        for component in reversed(components):
            state = self.next_state(state, self.symbol(state, component))
            if state == 0:
                return None
        if self.names["flags"] & 1:
            state = self.next_state(state, self.symbol(state, unit.encode()))
        accept = self.name_states[state][1]
        return self.matches[accept - 1] if accept else None

    def check_trees(self):
        self.nodes32 = [(row[:16], row[16:]) for row in numbers("32I", self.sections["nodes32"])]
        self.nodes128 = [
            ([high << 64 | low for high, low in zip(row[:16], row[16:32])], row[32:])
            for row in numbers("32Q16I", self.sections["nodes128"])
        ]
        # The depths of the nodes that were looked at so far, for ports and for addresses.
        ports, addresses32, addresses128 = [], [], []

        def at(depths, step):
            index = step & INDEX
            return depths[index] if index < len(depths) else None

        def for_ports(step):
            if step & PORT_DONE:
                return 0 if step & INDEX < len(self.cells) else None
            return at(ports, step)

        def for_addresses(step, depths):
            if step & ADDRESS_DONE:
                return 0 if fits(for_ports(step), PORT_LEVELS) else None
            return None if step & PORT_DONE else at(depths, step)

        def fits(depth, levels):
            return depth is not None and depth <= levels

        def deepest(depths):
            depths = list(depths)
            return None if None in depths else 1 + max(depths)

        def check_ends(ends, last, name):
            if list(ends) != sorted(ends) or ends[-1] != last:
                raise Refusal("image-structure", name)

        for ends, steps in self.nodes32:
            check_ends(ends, (1 << 32) - 1, "nodes32")
            by_port = deepest(map(for_ports, steps))
            by_address = deepest(for_addresses(step, addresses32) for step in steps)
            if not fits(by_port, PORT_LEVELS) and not fits(by_address, ADDRESS_LEVELS):
                raise Refusal("image-structure", "nodes32")
            ports.append(by_port)
            addresses32.append(by_address)
        for ends, steps in self.nodes128:
            check_ends(ends, (1 << 128) - 1, "nodes128")
            by_address = deepest(for_addresses(step, addresses128) for step in steps)
            if not fits(by_address, ADDRESS_LEVELS):
                raise Refusal("image-structure", "nodes128")
            addresses128.append(by_address)
        for root, depths in (("root_v4", addresses32), ("root_v6", addresses128)):
            if not fits(for_addresses(self.policy[root], depths), ADDRESS_LEVELS):
                raise Refusal("image-structure", root)

    def debug(self):
        return decoded(self.sections["debug"], read_debug, "image-undecodable")

    # --- deciding ---------------------------------------------------------------------------------

    def cell_of(self, address, port_key):
        """The number of the cell of an IPv4 address (4 bytes) or an IPv6 address (16 bytes)."""
        is_v4 = len(address) == 4
        step = self.policy["root_v4" if is_v4 else "root_v6"]
        step = descend(self.nodes32 if is_v4 else self.nodes128, step, ADDRESS_DONE, int.from_bytes(address, "big"))
        return descend(self.nodes32, step, PORT_DONE, port_key) & INDEX

    def pair(self, program, cell):
        """The flags of what holds for a program in a cell."""
        stranger = INSIDE | AUDIT_INSIDE
        if program == 0:
            return stranger
        held = None
        for bucket in (part & self.policy["program_mask"] for part in hashes(program)):
            for place, (entry, flags, _, _) in enumerate(self.programs[bucket]):
                if entry == program:
                    number, held = 4 * bucket + place + 1, flags
        if held is None:
            return stranger
        for bucket in (part & self.policy["pair_mask"] for part in hashes(cell << 32 | number)):
            for entry_cell, entry_number, flags, _, _ in self.pairs[bucket]:
                if (entry_cell, entry_number) == (cell, number):
                    held = flags
        return held

    def judge(self, label, cell, needs_grant, only_covered=False, is_audited_without_grant=False):
        """`allowed`, `audited` or `denied`, for a cell."""
        flags = self.cells[cell][0]
        if only_covered:
            flags &= ~(CELL_OUTSIDE | CELL_AUDIT_OUTSIDE)
        if label.overflow or flags & (CELL_DENIED | CELL_OUTSIDE):
            return "denied"
        audited = bool(flags & (CELL_AUDIT_DENIED | CELL_AUDIT_OUTSIDE))
        to_everyone = bool(flags & CELL_GRANTED)
        for program in label.under:
            held = self.pair(program, cell) | (INSIDE | AUDIT_INSIDE if only_covered else 0)
            if held & DENIED or not held & INSIDE:
                return "denied"
            to_everyone = to_everyone and not held & WITHHELD
            audited = audited or bool(held & AUDIT_DENIED) or not held & AUDIT_INSIDE
        for identity in [label.program if label.proven else 0, *label.heirs]:
            held = self.pair(identity, cell)
            if flags & CELL_EXCLUSIVE and not held & MEMBER:
                continue
            is_granted = held & GRANTED or to_everyone
            if is_granted or not needs_grant:
                audited = audited or is_audited_without_grant and not is_granted
                audited = audited or bool(flags & CELL_AUDIT_EXCLUSIVE) and not held & AUDIT_MEMBER
                return "audited" if audited else "allowed"
        return "denied"

    def decide(self, label, address, port, protocol):
        """What a process may do. An address is 4 or 16 bytes, a protocol one of `tcp`, `udp`, `icmp`, `other`, `answer`."""
        address = judged(address)
        port_key = PROTOCOLS.index(protocol) << 16 | port
        default_deny = bool(self.policy["flags"] & 1)
        verdict = self.judge(label, self.cell_of(address, port_key), default_deny)
        if address[:12] == NAT64:
            behind = self.judge(label, self.cell_of(address[12:], port_key), False, only_covered=True)
            verdict = max(verdict, behind, key=STRICTNESS.index)
        return verdict

    def left_by_rules_about(self, label, address, port, protocol):
        """What the rules that cover a request leave of it."""
        address = judged(address)
        port_key = PROTOCOLS.index(protocol) << 16 | port
        verdict = self.judge(label, self.cell_of(address, port_key), False, only_covered=True)
        if address[:12] == NAT64:
            behind = self.judge(label, self.cell_of(address[12:], port_key), False, only_covered=True)
            verdict = max(verdict, behind, key=STRICTNESS.index)
        return verdict

    def decide_answer(self, label, address, port, local_port):
        """What a process may send to the client of a connection that it accepted at a local port."""
        request, answer = (label, address, port, "tcp"), (label, address, local_port, "answer")
        if not self.policy["flags"] & POLICY_CLIENTS:
            return self.decide(*request)
        as_request = max(self.decide(*request), self.left_by_rules_about(*answer), key=STRICTNESS.index)
        as_answer = max(self.decide(*answer), self.left_by_rules_about(*request), key=STRICTNESS.index)
        return min(as_request, as_answer, key=STRICTNESS.index)

    def whole(self, program):
        """The flags of a program as in matches, wherever it asks; none of a stranger."""
        for bucket in (part & self.policy["program_mask"] for part in hashes(program)):
            for entry, flags, _, _ in self.programs[bucket]:
                if entry == program != 0:
                    if self.version > 1:
                        return flags
                    is_restricted = any(program in record["restricted"] for record in map(alone, self.executables))
                    return GOVERNED | (GOVERNING if is_restricted else 0)
        return 0

    def decide_raw(self, label):
        own = self.whole(label.program) if label.proven else 0
        under = [self.whole(program) for program in label.under]
        is_governed = label.overflow or own & GOVERNED or any(flags & GOVERNING for flags in under)
        is_audited = own & AUDIT_GOVERNED or any(flags & AUDIT_GOVERNING for flags in under)
        needs_grant = bool(self.policy["flags"] & 1) or bool(is_governed)
        cell = self.policy["raw_cell"]
        return self.judge(label, cell, needs_grant, is_audited_without_grant=bool(is_audited))

    def label_of(self, paths):
        """The label of a process that executed these files in turn, with proof."""
        label = Label()
        for path in paths:
            label.execute(self.match_of(path), True)
        return label


def descend(nodes, step, done, key):
    while not step & done:
        ends, steps = nodes[step & INDEX]
        step = next(step for end, step in zip(ends, steps) if end >= key)
    return step


CELL_DENIED, CELL_EXCLUSIVE, CELL_GRANTED, CELL_AUDIT_DENIED, CELL_AUDIT_EXCLUSIVE = 1, 2, 4, 16, 32
CELL_OUTSIDE, CELL_AUDIT_OUTSIDE = 64, 128
GOVERNED, AUDIT_GOVERNED, GOVERNING, AUDIT_GOVERNING = 1 << 18, 1 << 19, 1 << 20, 1 << 21
MEMBER, INSIDE, DENIED, GRANTED, AUDIT_MEMBER, AUDIT_INSIDE, AUDIT_DENIED, WITHHELD = 1, 2, 4, 8, 16, 32, 64, 128
PROTOCOLS = ["tcp", "udp", "icmp", "other", "answer"]
POLICY_CLIENTS = 2
STRICTNESS = ["allowed", "audited", "denied"]
NAT64 = bytes.fromhex("0064ff9b0000000000000000")


def judged(address):
    if len(address) == 16:
        if address[:12] == bytes(10) + b"\xff\xff":
            address = address[12:]
        elif address == bytes(16):
            return bytes(15) + b"\x01"
    return b"\x7f\0\0\x01" if address == bytes(4) else address


STATE_BYTES = 1
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


def name_hash(component):
    """The hash by which a component is looked for."""
    mask = (1 << 64) - 1
    found = len(component)
    for at in range(0, len(component), 8):
        word = int.from_bytes(component[at : at + 8], "little")
        found = ((found << 5 | found >> 59) & mask ^ word) * 0x517CC1B727220A95 & mask
    return found


def alone(entry):
    """What becomes of a process of an executable of the first format."""
    restricted = [entry["program"]] if entry["flags"] & 1 else []
    flags = entry["flags"] | (8 if entry["pins"] else 0) | (16 if entry["libraries"] is not None else 0)
    return {"program": entry["program"], "flags": flags, "count": len(restricted), "restricted": restricted}


def is_at(written, path):
    """Whether a path of the first format is this file's."""
    folder = written.split("/")[2] if written.startswith("/usr/") and written.count("/") > 2 else None
    return path == written or folder in MERGED and path == written.removeprefix("/usr")


def together(found):
    """What becomes of a process of a file that several executables of the first format are."""
    if len(found) < 2:
        return found[0] if found else None
    restricted = sorted({program for record in found for program in record["restricted"]})
    return {"program": 0, "flags": 1 if restricted else 0, "count": len(restricted), "restricted": restricted}


def hashes(number):
    mask = (1 << 64) - 1
    number ^= number >> 33
    number = number * 0xFF51AFD7ED558CCD & mask
    number ^= number >> 33
    number = number * 0xC4CEB9FE1A85EC53 & mask
    number ^= number >> 33
    return number & 0xFFFFFFFF, number >> 32


class Label:
    WITH_CHILDREN = 2

    def __init__(self):
        self.program, self.proven, self.under, self.heirs, self.overflow = 0, False, [], [], False

    def execute(self, record, proven):
        self.proven = proven
        if record is None:
            self.program = 0
            return
        self.program = program = record["program"]
        for restricted in record["restricted"][: record["count"]]:
            if restricted in self.under:
                continue
            if len(self.under) < 8:
                self.under.append(restricted)
            else:
                self.overflow = True
        if record["flags"] & self.WITH_CHILDREN and proven and program not in self.heirs and len(self.heirs) < 4:
            self.heirs.append(program)


# --- executables and debug information --------------------------------------------------------------


def read_old_executables(reader):
    return read_executables(reader, has_members=False)


def read_executables(reader, has_members=True):
    def library():
        return {"path": reader.string(), "pins": reader.list(reader.digest)}

    def executable():
        entry = {
            "path": reader.string(),
            "program": reader.u64(),
            "flags": reader.u32(),
            "pins": reader.list(reader.digest),
            "libraries": reader.option(lambda: reader.list(library)),
            "members": reader.list(reader.u32) if has_members else [],
        }
        if not entry["path"].startswith("/") or "\0" in entry["path"]:
            raise Undecodable("a path that is not absolute")
        return entry

    return reader.list(executable)


def read_debug(reader):
    def address():
        text = reader.string()
        try:
            # A zone is no part of an address.
            ipaddress.ip_address(text.replace("%", "?"))
        except ValueError:
            raise Undecodable("a text that is not an address") from None
        return text

    def place():
        return {"file": reader.string(), "line": reader.u32(), "text": reader.string()}

    def rule():
        return {
            "place": place(),
            "effect": ["only P -> D", "P -> only D", "deny", "allow", "deny * except", "allow * except"][reader.variant(6)],
            "audited": reader.bool(),
            "programs": reader.option(lambda: reader.list(reader.u32)),
            "destinations": reader.string(),
        }

    def locked():
        return {
            "name": reader.string(),
            "rotating": reader.bool(),
            "ipv4_only": reader.bool(),
            "within": reader.bool(),
            "kept": reader.list(address),
        }

    def note():
        return {
            "rule": reader.u32(),
            "until": reader.option(reader.string),
            "owner": reader.option(reader.string),
            "ticket": reader.option(reader.string),
            "reason": reader.option(reader.string),
        }

    debug = {
        "rules": reader.list(rule),
        "default": reader.option(place),
        "cells": reader.list(lambda: reader.list(reader.u32)),
        "names": reader.list(lambda: (address(), reader.string())),
        "programs": reader.list(reader.strings),
        "hosts": reader.list(reader.strings),
        "locked": [],
        "notes": [],
    }
    if reader.at != len(reader.data):
        debug["locked"] = last = reader.list(locked)
        if reader.at != len(reader.data):
            debug["notes"] = last = reader.list(note)
        if not last:
            raise Undecodable("an empty list that is written")
    return debug


# --- the command ----------------------------------------------------------------------------------


def as_json(bundle):
    def plain(value):
        if isinstance(value, bytes):
            return value.hex()
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value

    tables = ["policy", "nodes32", "nodes128", "cells", "programs", "pairs", "executables", "matches"]
    if bundle.version > 1:
        tables += ["names", "name_buckets", "name_table", "name_states", "name_steps"]
    shown = {"manifest": bundle.manifest, "signers": bundle.signers, "debug": bundle.debug()}
    return json.dumps(plain(shown | {name: getattr(bundle, name) for name in tables}), indent=1)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arguments.add_argument("file")
    arguments.add_argument("--key", action="append", required=True, help="a public key in PEM")
    arguments.add_argument("--threshold", type=int, default=1)
    arguments.add_argument("--now", type=int, default=int(time.time()))
    arguments.add_argument("--label", action="append", default=[])
    arguments.add_argument("--offer", type=int, action="append", help="a need that the host meets; by default all")
    options = arguments.parse_args()
    keys = []
    for path in options.key:
        with open(path, "rb") as file:
            key = load_pem_public_key(file.read())
        if not isinstance(key, Ed25519PublicKey):
            sys.exit(f"{path}: not an Ed25519 key")
        keys.append(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
    with open(options.file, "rb") as file:
        data = file.read(MAX_FILE + 1)
    try:
        host = Host(options.now, options.label, options.offer or list(NEEDS))
        print(as_json(verify_bundle(data, Trust(0, options.threshold, keys, []), host)))
    except Refusal as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    main()
