#!/usr/bin/env python3
"""What a policy means, said a second time and from docs/language.md alone, held against compiled bundles.

    oracle.py BFPC [POLICIES [SEED]]

Random policies are written as text, compiled by BFPC, and decided by read_bundle.py over their tables: for every kind of
process (each program, a stranger, and what each program starts), at every edge of what the rules say and beside it.
Nothing here knows of a table, a cell or a label. Status 1 where an answer differs, or where too few policies compile.
"""

import ipaddress
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import read_bundle as reader

PROTOCOLS = ("tcp", "udp", "icmp", "other")
STRICTNESS = ("allowed", "audited", "denied")
PROGRAMS = ("/opt/a", "/opt/b", "/opt/c", "/opt/d")
STRANGER = "/opt/stranger"
DECLARED_PORTS = "ports web = {443, 8000-8010/udp}\n"
# At least so many of a hundred policies must compile, or little is compared: contradictions are errors.
COMPILED_PERCENT = 20

# As they are written, and their first and last address.
V4 = {
    "10.0.0.1": ("10.0.0.1",) * 2,
    "10.0.0.2": ("10.0.0.2",) * 2,
    "10.0.0.0/30": ("10.0.0.0", "10.0.0.3"),
    "10.0.0.0/8": ("10.0.0.0", "10.255.255.255"),
    "0.0.0.0/0": ("0.0.0.0", "255.255.255.255"),
    "127.0.0.1": ("127.0.0.1",) * 2,
}
V6 = {
    "[fd00::1]": ("fd00::1",) * 2,
    "[fd00::/16]": ("fd00::", "fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    "[64:ff9b::a00:1]": ("64:ff9b::a00:1",) * 2,
    "[64:ff9b::/96]": ("64:ff9b::", "64:ff9b::ffff:ffff"),
    "[::/0]": ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    "[::1]": ("::1",) * 2,
}
# As they are written: protocols, and the first and last port, for each element.
# A host without ports covers the answers to clients there too; they have the ports of the server.
EVERYTHING = (*PROTOCOLS, "answer")
PORTS = {
    "": [(EVERYTHING, 0, 65535)],
    ":443": [(("tcp", "udp", "other"), 443, 443)],
    ":443/tcp": [(("tcp",), 443, 443)],
    ":8000-8010/udp": [(("udp",), 8000, 8010)],
    ":{443/tcp, 8000/udp, icmp}": [(("tcp",), 443, 443), (("udp",), 8000, 8000), (("icmp",), 0, 65535)],
    ":{443, */udp}": [(("tcp", "udp", "other"), 443, 443), (("udp",), 0, 65535)],
    ":web": [(("tcp", "udp", "other"), 443, 443), (("udp",), 8000, 8010)],
    ":{web, 8001/tcp, icmp}": [
        (("tcp", "udp", "other"), 443, 443),
        (("udp",), 8000, 8010),
        (("tcp",), 8001, 8001),
        (("icmp",), 0, 65535),
    ],
    ":*": [(EVERYTHING, 0, 65535)],
    "/icmp": [(("icmp",), 0, 65535)],
}


class Part:
    """Addresses and ports; or raw sockets, where there are no addresses."""

    def __init__(self, written, addresses, ports):
        self.written, self.ports = written, ports
        self.addresses = addresses and tuple(ipaddress.ip_address(address) for address in addresses)

    def covers(self, request):
        if request == "raw" or self.addresses is None:
            return request == "raw" and self.addresses is None
        address, port, protocol = request
        first, last = self.addresses
        in_ports = any(
            protocol in protocols and (protocol == "icmp" or low <= port <= high) for protocols, low, high in self.ports
        )
        return address.version == first.version and first <= address <= last and in_ports


class Clients(Part):
    """Answers to clients: of an address family, as there are two, or to all of them."""

    def __init__(self, port, source):
        ports = f":{port}" if port else ""
        written = f"clients{ports} from {source}" if source else f"clients{ports}"
        super().__init__(written, (V4 | V6).get(source), [(("answer",), port or 0, port or 65535)])
        self.is_of_all = source is None

    def covers(self, request):
        if not self.is_of_all:
            return super().covers(request)
        (_, low, high) = self.ports[0]
        return request != "raw" and request[2] == "answer" and low <= request[1] <= high


class Destination:
    """The parts, without what is excepted; `None` for `*`. `ports` are written after the set, and those of each part."""

    def __init__(self, parts, excepted, ports=""):
        self.parts, self.excepted, self.ports = parts, excepted, ports

    def __str__(self):
        if self.parts is None:
            return "*" if self.excepted is None else f"* except {self.excepted.written}"
        if self.excepted is not None:
            return f"{self.parts[0].written} except {self.excepted.written}"
        written = ", ".join(part.written for part in self.parts)
        return written if len(self.parts) == 1 and not self.ports else f"{{ {written} }}{self.ports}"

    def covers(self, request):
        if self.excepted is not None and self.excepted.covers(request):
            return False
        return self.parts is None or any(part.covers(request) for part in self.parts)

    def all_parts(self):
        return (self.parts or []) + ([self.excepted] if self.excepted else [])


class Rule:
    """`programs` is None for everyone."""

    def __init__(self, effect, audited, programs, destination):
        self.effect, self.audited, self.programs, self.destination = effect, audited, programs, destination

    def __str__(self):
        names = [f'"{program}"' for program in sorted(self.programs or [])]
        who = "*" if self.programs is None else names[0] if len(names) == 1 else f"{{ {', '.join(names)} }}"
        said = {
            "only": f"only {who} -> {self.destination}",
            "confined": f"{who} -> only {self.destination}",
            "deny": f"deny {who} -> {self.destination}",
            "allow": f"allow {who} -> {self.destination}",
            "shared": f"shared only {who} -> {self.destination}",
            "also": f"also {who} -> {self.destination}",
            "deny others": f"deny * except {who} -> {self.destination}",
            "allow others": f"allow * except {who} -> {self.destination}",
        }[self.effect]
        return f"audit {said}" if self.audited else said

    def is_about(self, program):
        return self.programs is None or program in self.programs

    def holds_for(self, chain):
        return any(self.is_about(program) for program in chain) or self.programs is None

    def refuses(self, identity, chain, request, rules):
        covers = self.destination.covers(request)
        if self.effect == "shared":
            added = (rule for rule in rules if rule.effect == "also" and rule.destination.covers(request))
            return covers and not self.is_about(identity) and not any(rule.is_about(identity) for rule in added)
        if self.effect in ("only", "deny others"):
            return covers and not self.is_about(identity)
        if self.effect == "confined":
            return not covers and self.holds_for(chain)
        return self.effect == "deny" and covers and self.holds_for(chain)

    def grants(self, identity, request):
        grants = self.effect in ("only", "confined", "allow", "shared", "also") and not self.audited
        return grants and self.destination.covers(request) and self.is_about(identity)

    def grants_to_others(self, request):
        return self.effect == "allow others" and self.destination.covers(request)

    def governs(self, chain, is_default_deny):
        """Whether it is about the process, or restricts it by what started it."""
        if self.programs is None or self.effect == "deny others":
            return False
        is_idle = self.effect in ("allow", "allow others") and not is_default_deny
        restricts = self.effect in ("confined", "deny") or self.effect == "allow others" and not is_idle
        return (chain[-1] in self.programs and not is_idle) or (restricts and self.programs.intersection(chain))


class Policy:
    def __init__(self, rules, heirs, is_default_deny):
        self.rules, self.heirs, self.is_default_deny = rules, heirs, is_default_deny

    def __str__(self):
        # A program with children is declared, and named by its declaration.
        text = "\n".join(map(str, self.rules))
        declared = DECLARED_PORTS if ":web" in text or "{web" in text else ""
        for number, program in enumerate(sorted(self.heirs)):
            if f'"{program}"' in text:
                declared += f'program heir{number} = "{program}" with children\n'
                text = text.replace(f'"{program}"', f"heir{number}")
        return f"policy oracle\n{declared}{text}\ndefault {'deny' if self.is_default_deny else 'allow'}\n"

    def answer(self, chain, request):
        if request == "raw":
            return self.judge(chain, request, self.rules)
        address, port, protocol = request
        address = judged(address)
        first = self.judge(chain, (address, port, protocol), self.rules)
        if address.version == 4 or address not in ipaddress.ip_network("64:ff9b::/96"):
            return first
        behind = (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF), port, protocol)
        # What `deny` and `only P -> D` refuse of the address behind the gateway they refuse here too.
        rules = [rule for rule in self.rules if rule.destination.covers(behind)]
        return max(first, self.judge(chain, behind, rules, True), key=("allowed", "audited", "denied").index)

    def left_by_rules_about(self, chain, request):
        """What the rules that cover a request leave of it."""
        address, port, protocol = request
        address = judged(address)
        requests = [(address, port, protocol)]
        if address.version == 6 and address in ipaddress.ip_network("64:ff9b::/96"):
            requests.append((ipaddress.IPv4Address(int(address) & 0xFFFFFFFF), port, protocol))
        rules = [[rule for rule in self.rules if rule.destination.covers(request)] for request in requests]
        answers = [self.judge(chain, request, rules, True) for request, rules in zip(requests, rules)]
        return max(answers, key=STRICTNESS.index)

    def answer_to_client(self, chain, address, port, local_port):
        """An answer on an accepted connection: allowed as one or as a request, if no rule denies it as the other."""
        request, answer = (address, port, "tcp"), (address, local_port, "answer")
        if not any(isinstance(part, Clients) for rule in self.rules for part in rule.destination.all_parts()):
            return self.answer(chain, request)
        as_request = max(self.answer(chain, request), self.left_by_rules_about(chain, answer), key=STRICTNESS.index)
        as_answer = max(self.answer(chain, answer), self.left_by_rules_about(chain, request), key=STRICTNESS.index)
        return min(as_request, as_answer, key=STRICTNESS.index)

    def judge(self, chain, request, rules, is_behind=False):
        enforced = [rule for rule in rules if not rule.audited]
        audited = [rule for rule in rules if rule.audited]
        needs_grant, is_on_trial = self.is_default_deny and not is_behind, False
        if request == "raw":
            governing = [rule for rule in rules if rule.governs(chain, self.is_default_deny)]
            needs_grant |= any(not rule.audited for rule in governing)
            is_on_trial = any(rule.audited and not rule.destination.covers("raw") for rule in governing)
        for identity in [chain[-1]] + [program for program in dict.fromkeys(chain) if program in self.heirs]:
            # A grant to others is withheld from each program that led to the process and that all such rules except.
            to_others = [rule for rule in enforced if rule.grants_to_others(request)]
            is_other = all(any(not rule.is_about(program) for rule in to_others) for program in chain)
            is_granted = any(rule.grants(identity, request) for rule in enforced) or bool(to_others) and is_other
            if any(rule.refuses(identity, chain, request, rules) for rule in enforced) or needs_grant and not is_granted:
                continue
            would = any(rule.refuses(identity, chain, request, rules) for rule in audited)
            return "audited" if would or is_on_trial and not is_granted else "allowed"
        return "denied"


def judged(address):
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if int(address) == 0:
        return ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return address


def some_part(random):
    if random.random() < 0.08:
        return Part("raw", None, None)
    if random.random() < 0.08:
        return Clients(random.choice((None, 443)), random.choice((None, *V4, *V6)))
    written, addresses = random.choice(list((V4 | V6).items()))
    ports = random.choice(list(PORTS))
    return Part(written + ports, addresses, PORTS[ports])


def some_policy(random):
    def destination():
        if random.random() < 0.12:
            return Destination(None, some_part(random) if random.random() < 0.5 else None)
        if random.random() < 0.15:
            ports = random.choice([ports for ports in PORTS if ports])
            chosen = random.sample(list((V4 | V6).items()), random.choice((1, 2, 3)))
            return Destination([Part(written, addresses, PORTS[ports]) for written, addresses in chosen], None, ports)
        parts = [some_part(random) for _ in range(random.choice((1, 1, 1, 2, 3)))]
        excepted = some_part(random) if len(parts) == 1 and random.random() < 0.15 else None
        return Destination(parts, excepted)

    def rule():
        effect = random.choice(("only", "confined", "deny", "allow", "shared", "deny others", "allow others"))
        everyone = effect in ("confined", "deny", "allow") and random.random() < 0.2
        programs = None if everyone else set(random.sample(PROGRAMS, random.choice((1, 1, 2))))
        audited = effect not in ("allow", "shared", "allow others") and random.random() < 0.25
        return Rule(effect, audited, programs, destination())

    rules = [rule() for _ in range(random.randint(1, 4))]
    # Others add programs to what is shared, or to a part of it.
    for shared in [rule for rule in rules if rule.effect == "shared" and rule.destination.parts]:
        for _ in range(random.choice((0, 1, 1, 2))):
            whole = shared.destination
            one = Destination([random.choice(whole.parts)], whole.excepted, whole.ports)
            programs = set(random.sample(PROGRAMS, random.choice((1, 1, 2))))
            rules.insert(random.randint(0, len(rules)), Rule("also", False, programs, random.choice((whole, one))))
    heirs = {program for program in PROGRAMS if random.random() < 0.2}
    return Policy(rules, heirs, random.random() < 0.4)


def requests(policy):
    """Edges of what the rules say, and what lies beside them; mapped, and behind a gateway."""
    addresses = {ipaddress.ip_address(address) for address in ("0.0.0.0", "::", "::ffff:0.0.0.0", "192.0.2.1", "2001:db8::1")}
    ports = {0, 443, 65535}
    for part in (part for rule in policy.rules for part in rule.destination.all_parts() if part.addresses):
        for edge in part.addresses:
            beside = [int(edge) + step for step in (-1, 0, 1)]
            fitting = [type(edge)(number) for number in beside if 0 <= number < 1 << edge.max_prefixlen]
            addresses.update(fitting)
            if edge.version == 4:
                addresses.update(ipaddress.IPv6Address(0xFFFF << 32 | int(address)) for address in fitting)
                addresses.update(ipaddress.IPv6Address(0x64FF9B << 96 | int(address)) for address in fitting)
        edges = [edge for _, low, high in part.ports for edge in (low, high)]
        ports.update(port for edge in edges for port in (edge - 1, edge, edge + 1) if 0 <= port < 65536)
    everything = [(address, port, protocol) for address in addresses for port in ports for protocol in PROTOCOLS]
    return ["raw"] + [(address, 0 if protocol == "icmp" else port, protocol) for address, port, protocol in everything]


def chains(random):
    everyone = (*PROGRAMS, STRANGER)
    yield from ([program] for program in everyone)
    yield from (random.sample(everyone, 2) for _ in range(4))
    yield random.sample(everyone, 3)


def main(bfpc, policies, seed):
    chance = random.Random(seed)
    compiled, asked, wrong = 0, 0, []
    with tempfile.TemporaryDirectory() as scratch:
        key, text, file = Path(scratch, "key"), Path(scratch, "policy.bfp"), Path(scratch, "policy.bfpb")
        subprocess.run([bfpc, "keygen", key], check=True, capture_output=True)
        public = reader.load_pem_public_key(Path(f"{key}.pub").read_bytes())
        public = public.public_bytes(reader.Encoding.Raw, reader.PublicFormat.Raw)
        trust, host = reader.Trust(0, 1, [public], []), reader.Host(0, [], list(reader.NEEDS))
        for _ in range(policies):
            policy = some_policy(chance)
            text.write_text(str(policy))
            ended = subprocess.run([bfpc, "build", text, "-o", file, "--key", key], capture_output=True, text=True)
            if ended.returncode != 0:
                continue
            compiled += 1
            bundle = reader.verify_bundle(file.read_bytes(), trust, host)
            every = requests(policy)
            for chain in chains(chance):
                label = bundle.label_of(chain)
                for request in chance.sample(every, min(len(every), 60)) + ["raw"]:
                    asked += 1
                    if request == "raw":
                        found = bundle.decide_raw(label)
                    else:
                        address, port, protocol = request
                        found = bundle.decide(label, address.packed, port, protocol)
                    expected = policy.answer(chain, request)
                    if found != expected:
                        wrong.append(f"{policy}{' > '.join(chain)} asks for {request}: {expected}, and the tables say {found}")
                    if request == "raw" or protocol != "tcp":
                        continue
                    asked += 1
                    local_port = chance.choice((443, 8000))
                    found = bundle.decide_answer(label, address.packed, port, local_port)
                    expected = policy.answer_to_client(chain, address, port, local_port)
                    if found != expected:
                        who = f"{' > '.join(chain)} answers {request} at {local_port}"
                        wrong.append(f"{policy}{who}: {expected}, and the tables say {found}")
    print(f"oracle: {compiled} of {policies} random policies compile, {asked} verdicts, {len(wrong)} wrong")
    print("\n".join(wrong[:3]))
    return 1 if wrong or compiled * 100 < policies * COMPILED_PERCENT else 0


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], int((sys.argv[2:3] or ["1500"])[0]), (sys.argv[3:4] or ["bfp"])[0]))
