#!/usr/bin/env python3
"""Holds read_bundle.py against the vectors of fixtures/bundles and the verdict tables of fixtures/accept.

    check.py BFPC

A vector must come to the outcome that its first line says: a refusal of the class that docs/format.md gives its
message, or no refusal. Each policy of fixtures/accept is compiled by BFPC, verified and decoded, and every row of its
table is decided over its tables; and what `bfpc inspect` shows of it must be what the reader decodes.
"""

import base64
import hashlib
import ipaddress
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import read_bundle as reader

ROOT = Path(__file__).resolve().parent.parent.parent


def classes():
    """The rows of the table of refusals: a class, and what its message looks like."""
    page = (ROOT / "docs/format.md").read_text()
    table = page.split("| class | message | when |\n", 1)[1].split("\n\n", 1)[0]
    for row in table.splitlines()[1:]:
        kind, message = re.match(r"\| ([a-z0-9-]+) \| `(.*?)` \|", row).groups()
        yield kind, re.compile(".*?".join(map(re.escape, message.split("…"))), re.DOTALL)


def check_vectors():
    table = list(classes())
    count, wrong = 0, []
    for path in sorted((ROOT / "fixtures/bundles").glob("*.txt")):
        head, data = path.read_text().split("\n\n", 1)
        lines = {key: value.strip() for key, value in (line.split(":", 1) for line in head.splitlines())}
        expected = "accepted"
        if lines["expect"] != "accepted":
            message = lines["expect"].removeprefix("refused: ")
            (expected,) = (kind for kind, pattern in table if pattern.fullmatch(message))
        found = judge(lines, base64.b64decode(data))
        count += 1
        if found != expected:
            wrong.append(f"{path.name}: {expected} is expected, and the reader says {found}")
    return count, wrong


def judge(lines, data):
    host = reader.Host(int(lines["now"]), lines["labels"].split(), [int(number) for number in lines["offers"].split()])
    try:
        trust = reader.Trust(
            int(lines["version"]),
            int(lines["threshold"]),
            [bytes.fromhex(key) for key in lines["trust"].split()],
            [bytes.fromhex(key_id) for key_id in lines["revoked"].split()],
        )
        if lines["document"] == "bundle":
            reader.as_json(reader.verify_bundle(data, trust, host))
        elif lines["document"] == "trust set":
            reader.verify_trust_set(data, trust)
        else:
            reader.verify_token(data, trust, host)
        return "accepted"
    except reader.Refusal as refusal:
        return refusal.kind


def check_tables(bfpc):
    count, wrong = 0, []
    with tempfile.TemporaryDirectory() as scratch:
        key, file = Path(scratch, "key"), Path(scratch, "policy.bfpb")
        subprocess.run([bfpc, "keygen", key], check=True, stdout=subprocess.DEVNULL)
        public = reader.load_pem_public_key(Path(f"{key}.pub").read_bytes())
        public = public.public_bytes(reader.Encoding.Raw, reader.PublicFormat.Raw)
        for folder in sorted((ROOT / "fixtures/accept").iterdir()):
            subprocess.run(
                [bfpc, "build", folder / "policy.bfp", "-o", file, "--key", key],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            trust, host = reader.Trust(0, 1, [public], []), reader.Host(0, [], list(reader.NEEDS))
            bundle = reader.verify_bundle(file.read_bytes(), trust, host)
            shown = [bfpc, "inspect", file, "--trust", f"{key}.pub", "--format", "json"]
            shown = json.loads(subprocess.run(shown, check=True, stdout=subprocess.PIPE).stdout)
            wrong += [f"{folder.name}: another {part} than `bfpc inspect` shows" for part in differences(bundle, shown)]
            wrong += [f"{folder.name}: {path} is taken for another program" for path in mistaken(bundle)]
            for row in (folder / "verdicts.txt").read_text().splitlines():
                words = row.split("#", 1)[0].split()
                if not words:
                    continue
                paths, destination, expected = words
                label = bundle.label_of(paths.split(">"))
                if destination == "raw":
                    found = bundle.decide_raw(label)
                else:
                    place, protocol = destination.rsplit("/", 1)
                    address, port = (place, 0) if protocol == "icmp" else place.rsplit(":", 1)
                    address = ipaddress.ip_address(address.strip("[]")).packed
                    found = bundle.decide(label, address, int(port), protocol)
                count += 1
                if found != expected:
                    wrong.append(f"{folder.name}: {row}: the reader says {found}")
    return count, wrong


def differences(bundle, shown):
    """What the reader decodes otherwise than `bfpc inspect` shows it."""
    manifest = bundle.manifest
    # The two rules of `only P -> only D` have one place, which is shown once, with the numbers of both.
    debug = bundle.debug()
    notes = {note["rule"]: note for note in debug["notes"]}
    places = {}
    for number, rule in enumerate(debug["rules"]):
        note = notes.get(number, {})
        words = {"until": "until", "owner": "owner", "ticket": "ticket", "because": "reason"}
        place = rule["place"] | {word: note[field] for word, field in words.items() if note.get(field) is not None}
        places.setdefault(tuple(place.items()), place | {"numbers": []})["numbers"].append(number + 1)
    decoded = {
        "policy": manifest["policy"],
        "revision": manifest["revision"],
        "compiler": manifest["compiler"],
        "audience": manifest["audience"],
        "lockdown": manifest["lockdown"],
        "parameters": dict(manifest["parameters"]),
        "source_sha256": manifest["source"].hex(),
        "lock_sha256": manifest["lock"].hex(),
        "signers": [signer.hex() for signer in bundle.signers],
        "sections": [
            {
                "name": reader.SECTIONS[entry["kind"]][0],
                "records": entry["count"] if reader.SECTIONS[entry["kind"]][1] else None,
                "bytes": entry["length"],
            }
            for entry in manifest["sections"]
        ],
        "rules": list(places.values()),
    }
    shown.setdefault("parameters", {})
    yield from (part for part, value in decoded.items() if shown[part] != value)
    paths = [(program["path"], program["pins"]) for program in shown["programs"]]
    written = [entry for entry in bundle.executables if not entry["members"]]
    if paths != [(entry["path"], [pin.hex() for pin in entry["pins"]]) for entry in written]:
        yield "programs"
    for entry in bundle.executables:
        members = [bundle.executables[member]["path"] for member in entry["members"]]
        if members and entry["path"] != "\n".join(sorted(members)):
            yield f"members of {entry['path']}"
    for entry in bundle.executables:
        digest = hashlib.sha256(b"bfp program path\0" + entry["path"].encode()).digest()
        if entry["program"] != int.from_bytes(digest[:8], "little"):
            yield f"id of {entry['path']}"


def mistaken(bundle):
    """Paths of which the tables say otherwise than the executables' own words do."""
    written = [(place, entry["path"]) for place, entry in enumerate(bundle.executables) if not entry["members"]]
    paths = {"/", "/usr/bin/x", "/x"}
    for _, pattern in written:
        for filler in ("x", "r2", "a-b"):
            path = pattern.replace("**", f"{filler}/y").replace("*", filler)
            paths |= {path, path + "x", path[:-1], f"/x{path}", f"{path}/x", path.removeprefix("/usr")}
    for path in sorted(path for path in paths if path.startswith("/") and "" not in path.split("/")[1:]):
        matched = [place for place, pattern in written if is_one(pattern, path)]
        places = [place for place, entry in enumerate(bundle.executables) if entry["members"] == matched]
        places = matched if len(matched) == 1 else places if matched else []
        if bundle.match_of(path) != (bundle.matches[places[0]] if places else None):
            yield path


def is_one(pattern, path):
    """Whether a path is what a pattern says, by a regular expression."""
    components = pattern.split("/")[1:]
    said = ""
    for place, component in enumerate(components):
        if component != "**":
            said += "/" + ".*".join(map(re.escape, component.split("*"))).replace(".*", "[^/]*")
        elif place + 1 == len(components):
            said += "(/[^/]+)+"
        else:
            said += "(/[^/]+)*"
    if components[0] == "usr" and len(components) > 2 and components[1] in reader.MERGED:
        said = "(/usr)?" + said.removeprefix("/usr")
    return re.fullmatch(said, path) is not None


def main():
    (bfpc,) = sys.argv[1:]
    vectors, wrong = check_vectors()
    rows, more = check_tables(bfpc)
    wrong += more
    # A folder that is looked for in the wrong place has nothing wrong in it.
    if vectors < 100 or rows < 300:
        wrong.append(f"only {vectors} vectors and {rows} rows were found")
    print("\n".join([*wrong, f"reader: {vectors} vectors and {rows} rows of verdict tables, {len(wrong)} wrong"]))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
