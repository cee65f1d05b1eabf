"""What happens to packets that are too long in the other version of IP, to fragments, and to errors about wrong fields (RFC 7915), as
scapy has it.

    scapy_crossing.py make SEED IN        writes a capture of what clients, backends and routers send
    scapy_crossing.py judge SEED OUT      compares what leat made of it with what it should, and prints how many cases were right
"""

import random
import sys

from scapy.all import (ICMP, ICMPv6ParamProblem, IP, UDP, Ether, IPv6,
                       IPv6ExtHdrFragment, Raw, defragment, defragment6, fragment, fragment6, rdpcap, wrpcap)

LEAT, CLIENT, BACKEND = "02:00:00:00:00:fe", "02:00:00:00:00:01", "02:00:00:00:00:02"
# By the version of the client: VIP, client, and on the other side local address, backend and a router.
ENDS = {6: ("2001:db8::10", "2001:db8:1::1", "10.0.0.11", "10.0.0.2", "192.0.2.1"),
        4: ("10.0.0.10", "198.51.100.1", "2001:db8::11", "2001:db8::2", "2001:db8:9::1")}
SERVICE, MTU = 9999, 1500
# Where the field at this byte of one header is in the other.
TO_V6 = {0: 0, 1: 1, 2: 4, 3: 4, 8: 7, 9: 6, **{at: 8 for at in range(12, 16)}, **{at: 24 for at in range(16, 20)}}
TO_V4 = {0: 0, 1: 1, 4: 2, 5: 2, 6: 9, 7: 8, **{at: 12 for at in range(8, 24)}, **{at: 16 for at in range(24, 40)}}


def header(source, destination, **more):
    return IPv6(src=source, dst=destination) if ":" in source else IP(src=source, dst=destination, **more)


def cases(seed):
    """Each: the version of the client, its port, the question, and what comes from the other side."""
    rng, all_cases = random.Random(seed), []
    for number in range(160):
        client = rng.choice([4, 6])
        what = rng.choice(["whole", "whole", "pieces", "error"])
        long = rng.choice([100, 1200, 1232, 1233, 1400, 1424, 1432, 1433, 1452, 1453, 1472])
        all_cases.append({
            "client": client, "port": 2000 + number, "what": what,
            # A question of IPv4 may be too long, too.
            "question": Raw(rng.randbytes(long if client == 4 and what == "whole" else 64)), "df": rng.random() < 0.3,
            "id": rng.randrange(1, 65536), "answer": Raw(rng.randbytes(long if what == "whole" else rng.choice([1600, 2900, 4000]))),
            "size": rng.choice([600, 1280, 1400, 1480]), "code": rng.choice([0, 0, 0, 1, 2]), "pointer": rng.randrange(44),
        })
    return all_cases


def question(case):
    vip, client, *_ = ENDS[case["client"]]
    flags = "DF" if case["df"] else ""
    return header(client, vip, flags=flags, id=case["id"], ttl=64) / UDP(sport=case["port"], dport=SERVICE) / case["question"]


def question_there(case):
    """The question as the backend gets it."""
    _, _, local, backend, _ = ENDS[case["client"]]
    return header(local, backend) / UDP(sport=case["port"], dport=SERVICE) / case["question"]


def answers(case):
    """What the other side sends: a datagram, its fragments, or a router's error about the question."""
    _, _, local, backend, router = ENDS[case["client"]]
    flags = "DF" if case["df"] and case["what"] == "whole" else ""
    whole = header(backend, local, flags=flags, id=case["id"], ttl=64) / UDP(sport=SERVICE, dport=case["port"]) / case["answer"]
    if case["what"] == "whole":
        return [whole]
    if case["what"] == "pieces" and case["client"] == 6:
        return fragment(IP(bytes(whole)), case["size"])
    if case["what"] == "pieces":
        split = IPv6(src=backend, dst=local) / IPv6ExtHdrFragment(id=case["id"]) / whole[UDP]
        return fragment6(IPv6(bytes(split)), case["size"])
    quoted = bytes(question_there(case))[:128]
    if case["client"] == 6:
        return [IP(src=router, dst=local) / ICMP(type=12, code=case["code"], ptr=case["pointer"]) / Raw(quoted)]
    return [IPv6(src=router, dst=local) / ICMPv6ParamProblem(code=case["code"], ptr=case["pointer"]) / Raw(quoted)]


def make(seed, file):
    packets = []
    for case in cases(seed):
        packets.append(Ether(src=CLIENT, dst=LEAT) / question(case))
        packets += [Ether(src=BACKEND, dst=LEAT) / packet for packet in answers(case)]
    wrpcap(file, [Ether(bytes(packet)) for packet in packets])


def whole_and_right(packets, source, destination, ports, payload):
    """Whether these are the datagram, its checksums right, in as many pieces as there have to be."""
    for packet in packets:
        assert (packet.src, packet.dst) == (source, destination), packet.summary()
        assert len(packet) <= MTU
    if IPv6 in packets[0]:
        assert all(packet.hlim == 63 and packet.plen + 40 == len(packet) for packet in packets)
        pieces = [packet for packet in packets if IPv6ExtHdrFragment in packet]
        assert len({piece[IPv6ExtHdrFragment].id for piece in pieces}) <= 1
        whole = defragment6(pieces) if pieces else packets[0]
    else:
        assert all(packet.ttl == 63 and packet.len == len(packet) for packet in packets)
        whole = defragment(packets)[0] if len(packets) > 1 else packets[0]
    whole = type(whole)(bytes(whole))
    assert (whole[UDP].sport, whole[UDP].dport, bytes(whole[UDP].payload)) == (*ports, bytes(payload)), whole.summary()
    told = whole[UDP].chksum
    del whole[UDP].chksum
    assert type(whole)(bytes(whole))[UDP].chksum == told, "checksum"


def translated(sent, from_v4, take, source, destination, ports, payload, sender):
    """Judges what became of a datagram that was sent in `sent`."""
    if not from_v4 or len(sent) == 1 and len(sent[0]) + 20 <= MTU:
        # It fits as it is.
        return whole_and_right(take(len(sent)), source, destination, ports, payload)
    if len(sent) == 1 and sent[0].flags.DF:
        (refusal,) = take(1)
        assert (refusal[ICMP].type, refusal[ICMP].code, refusal[ICMP].nexthopmtu) == (3, 4, MTU - 20), refusal.summary()
        assert refusal.dst == sender
        return None
    count = 0
    for packet in sent:
        data = len(packet) - 20
        # A fragment that fits gets its header; what does not is cut into pieces of at most 1280 bytes.
        fits = len(sent) > 1 and data + 48 <= MTU
        count += 1 if fits else -(-data // 1232)
    pieces = take(count)
    assert len(sent) > 1 or all(len(piece) <= 1280 for piece in pieces)
    return whole_and_right(pieces, source, destination, ports, payload)


def error(case, take):
    vip, client, *_ = ENDS[case["client"]]
    table = TO_V6 if case["client"] == 6 else TO_V4
    code, pointer = case["code"], case["pointer"]
    if case["client"] == 4 and code == 1:
        (got,) = take(1)
        assert (got[ICMP].type, got[ICMP].code) == (3, 2), got.summary()
    elif pointer in table and code in ((0, 2) if case["client"] == 6 else (0,)):
        (got,) = take(1)
        if case["client"] == 6:
            assert (got[ICMPv6ParamProblem].code, got[ICMPv6ParamProblem].ptr) == (0, table[pointer]), got.summary()
        else:
            assert (got[ICMP].type, got[ICMP].code, got[ICMP].ptr) == (12, 0, table[pointer]), got.summary()
    else:
        return
    assert (got.src, got.dst) == (vip, client)
    kind = ICMPv6ParamProblem if case["client"] == 6 else ICMP
    told = got[kind].cksum if case["client"] == 6 else got[kind].chksum
    if case["client"] == 6:
        del got[kind].cksum
        assert IPv6(bytes(got))[kind].cksum == told
    else:
        del got[kind].chksum
        assert IP(bytes(got))[kind].chksum == told
    quoted = bytes(got[kind].payload)
    quoted = IPv6(quoted) if case["client"] == 6 else IP(quoted)
    assert (quoted.src, quoted.dst, quoted[UDP].sport, quoted[UDP].dport) == (client, vip, case["port"], SERVICE)


def judge(seed, file):
    out = [packet.payload for packet in rdpcap(file) if packet.dst in (CLIENT, BACKEND) and (IP in packet or IPv6 in packet)]
    place = 0

    def take(count):
        nonlocal place
        taken = out[place:place + count]
        assert len(taken) == count, f"{count} packets wanted, {len(taken)} are left"
        place += count
        return taken

    right = 0
    for number, case in enumerate(cases(seed)):
        vip, client, local, backend, _ = ENDS[case["client"]]
        try:
            sent = question(case)
            ports = (case["port"], SERVICE)
            translated([sent], case["client"] == 4, take, local, backend, ports, case["question"], client)
            if case["what"] == "error":
                error(case, take)
            else:
                # Also where the question was refused: its flow is known.
                translated(answers(case), case["client"] == 6, take, vip, client, ports[::-1], case["answer"], backend)
        except AssertionError as wrong:
            shown = {key: len(value) if isinstance(value, Raw) else value for key, value in case.items()}
            sys.exit(f"case {number}, {shown}: {wrong!r}, at packet {place}: {[packet.summary() for packet in out[max(0, place - 3):place + 3]]}")
        right += 1
    assert place == len(out), f"{len(out) - place} packets too many"
    print(right)


if sys.argv[1] == "make":
    make(int(sys.argv[2]), sys.argv[3])
else:
    judge(int(sys.argv[2]), sys.argv[3])
