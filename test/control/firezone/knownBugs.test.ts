/**
 * Bugs that gateways of this protocol have had, each with the tests that would fail if it were in ours. The list is held
 * to the tests: every file is there and has a test of that title.
 */
import { readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"

/** A test file, and the title of a test in it (a literal piece of it where it is put together). */
type Held = readonly [file: string, title: string]

interface Bug {
  /** Number in the list it is from. */
  readonly row: number
  readonly symptom: string
  readonly heldBy: ReadonlyArray<Held>
  /** Where no test holds it, or not all of it. */
  readonly cannotApply?: string
}

const answers = "test/dataplane/answers.test.ts"
const clients = "test/dataplane/clients.test.ts"
const clientIcmp = "test/dataplane/icmp.test.ts"
const coalescer = "test/dataplane/offload/coalescer.test.ts"
const acceptor = "test/access/ConnectionAcceptor.test.ts"
const authorizations = "test/access/Authorizations.test.ts"
const bootClock = "test/layers/dataplane/native/bootClock.test.ts"
const engine = "test/dataplane/engine.test.ts"
const flows = "test/dataplane/flows.test.ts"
const gateway = "test/control/standalone/gateway.test.ts"
const ice = "test/dataplane/ice.test.ts"
const icmp = "test/packet/icmp.test.ts"
const names = "test/resolution/NameBook.test.ts"
const networks = "test/dataplane/networks.test.ts"
const outage = "test/dataplane/iceOutage.test.ts"
const pattern = "test/model/DomainPattern.test.ts"
const portal = "test/layers/control/firezone/ControlPlaneFirezone.test.ts"
const refresh = "test/resolution/refreshPolicy.test.ts"
const resolutions = "test/resolution/Resolutions.test.ts"
const rewrite = "test/packet/rewrite.test.ts"
const session = "test/control/firezone/session.test.ts"
const sessions = "test/nat/sessions.test.ts"
const shared = "test/dataplane/sharedHosts.test.ts"
const silence = "test/nat/silence.test.ts"

/** The regression checklist of the protocol's first gateway. */
const bugs: ReadonlyArray<Bug> = [
  {
    row: 1,
    symptom: "a client gives up before its gateway has given up on a slow DNS server",
    heldBy: [
      [portal, "every request of A, B and C is answered before any lookup ends"],
      [portal, "answers 200 requests a second for 10 s while DNS hangs, each in the turn of its request"],
      [acceptor, ": replies at once, then holds an empty list and the reason "]
    ]
  },
  {
    row: 2,
    symptom: "a client that names no proxy IPs gets translations all the same",
    heldBy: [
      [session, "a client of 1.0 gets an empty list at once, and one warning for all of them"],
      [acceptor, " and changes nothing"]
    ]
  },
  {
    row: 3,
    symptom: "a flow from source port 65535 ends the gateway",
    heldBy: [
      [sessions, "wrap from 65535 to 1 and are never 0"],
      [rewrite, "gives the packet that would have been built with the new address and port"]
    ]
  },
  {
    row: 4,
    symptom: "names that nobody uses are looked up all the time",
    heldBy: [
      [gateway, "is never looked up while idle, whatever its TTL"],
      [silence, "never starts without traffic"]
    ]
  },
  {
    row: 5,
    symptom: "a connection that was idle for a while goes on to another address",
    heldBy: [
      [flows, "that is no bare one moves nothing"],
      [engine, "keeps its real address when the answer changes, while new flows follow"],
      [silence, "of a confirmed session is 120 s under outgoing traffic and one more second"]
    ]
  },
  {
    row: 6,
    symptom: "a host that is unreachable is looked up every second for ever",
    heldBy: [
      [resolutions, "an unreachable host is not re-resolved every second"],
      [gateway, "is not looked up each second because its host is unreachable"]
    ]
  },
  {
    row: 7,
    symptom: "packets to dead hosts, or that are not allowed, fill the log",
    heldBy: [[gateway, "says nothing about packets, at any level: neither of dead hosts nor of what is not allowed"]]
  },
  {
    row: 8,
    symptom: "access to a second resource is refused when it is told before the connection",
    heldBy: [
      [session, "allow_access before its request_connection is granted right after it, once"],
      [session, "what was allowed early follows rejects, updates, expiries and lists until it is granted"]
    ]
  },
  {
    row: 9,
    symptom: "the gateway spins when the portal goes away or has no relays",
    heldBy: [
      [portal, "makes no loop of a portal that hangs up at once, before the join or after it, nor of missing relays"],
      [portal, "asks for relays when the last one is lost"],
      [
        outage,
        "waits: it neither works in a loop nor fills the wire, also while its kernel routes packets for the client"
      ]
    ]
  },
  {
    row: 10,
    symptom: "resources on one real host let through what only another one permits",
    heldBy: [
      [shared, "have the port filters of their own resources"],
      [shared, "has the filter of its own resource, and the network has its own"]
    ]
  },
  {
    row: 11,
    symptom: "a reply on a flow whose translation is gone ends the gateway",
    heldBy: [
      [flows, " passes nothing in either direction, and no other flow suffers"],
      [sessions, "comes with its client, its resource or its mapping, and spares the others"]
    ]
  },
  {
    row: 12,
    symptom: "programs wait although a host or router said that there is no way",
    heldBy: [
      [engine, "that is an ICMP error follows its flow and seems to come from the proxy IP"],
      [answers, "brings back an ICMPv6 error of its flow from the proxy IP"]
    ]
  },
  {
    row: 13,
    symptom: "packets on the device that are for nobody here go round in circles",
    heldBy: [
      [answers, "for an address that is no client's goes nowhere"],
      [engine, "is dropped when it claims to come from a tunnel or proxy address"]
    ]
  },
  {
    row: 14,
    symptom: "a TCP connection hangs because nobody is told that its packets are too big",
    heldBy: [
      [clientIcmp, "that asks for smaller packets reaches the client and is no reason to look again"],
      [icmp, "turns an error about the translated packet into one about what the client sent"]
    ],
    cannotApply: "the translation between the IP families, where it hung, does not exist here"
  },
  {
    row: 15,
    symptom: "a name mapped under a pattern gets the filter of another time",
    heldBy: [[shared, "have the resource's filter as it is now, mapped before the change or after it"]]
  },
  {
    row: 16,
    symptom: "a late reply of a flow that has ended reaches the client from the real address",
    heldBy: [[answers, "that comes after its flow's end is dropped, not passed on from the real address"]]
  },
  {
    row: 17,
    symptom: "a client that was started again gets packets of resources it may no longer reach",
    heldBy: [
      [engine, "ends with its authorization: nothing passes in either direction"],
      [flows, "by a filter that no longer permits it"],
      [clients, "that comes with another key keeps its resources and names, not its flows"]
    ]
  },
  {
    row: 18,
    symptom: "a connection is cut because DNS gives its addresses in turns",
    heldBy: [
      [engine, "keeps its real address when the answer changes, while new flows follow"],
      [flows, "goes on to the old address when the name has none left"]
    ]
  },
  {
    row: 19,
    symptom: "a packet with a congestion mark arrives with a wrong checksum",
    heldBy: [
      [answers, "goes through translation unchanged, both ways, under right checksums"],
      [coalescer, "that carry a Diffserv or ECN mark are joined with their like only"]
    ]
  },
  {
    row: 20,
    symptom: "an ICMP error is longer than one may be",
    heldBy: [[icmp, " packet are as long as allowed and still readable"]]
  },
  {
    row: 21,
    symptom: "an ICMP error that quotes only 8 bytes of a TCP header is lost",
    heldBy: [
      [icmp, "needs an error, its own family, a first fragment and 8 bytes of transport"],
      [icmp, "turns an error about the translated packet into one about what the client sent"]
    ]
  },
  {
    row: 22,
    symptom: "an idle TCP connection is dropped after a minute",
    heldBy: [[sessions, "of an idle TCP connection comes after 2 hours and 4 minutes, not before (RFC 5382, REQ-5)"]]
  },
  {
    row: 23,
    symptom: "a source port cannot be used again after its connection was reset",
    heldBy: [
      [sessions, "comes at once with a RST, and what is needed to forward the RST can still be read"],
      [flows, "takes the new address at once after "],
      [networks, "keeps a port that is used again at once open for longer than the old connection's 5 seconds"]
    ]
  },
  {
    row: 24,
    symptom: "ICMP errors of permitted flows are filtered",
    heldBy: [[answers, "that is an ICMP error of an open flow arrives, whatever the port filter permits"]]
  },
  {
    row: 25,
    symptom: "programs wait for a port that is filtered",
    heldBy: [[engine, "is prohibited when a filter denies, and passes when one permits"]]
  },
  {
    row: 26,
    symptom: "what was revoked while the gateway was away still works",
    heldBy: [
      [
        portal,
        "a repeated init without the list revokes nothing; with it, pairs not listed go and deadlines are replaced"
      ],
      [portal, "a repeated init with 10,000 authorizations is taken, and keeps those it lists"]
    ]
  },
  {
    row: 27,
    symptom: "a short loss of the path ends the client's TCP connections",
    heldBy: [
      [outage, " s that cost the client its path, with the same session"],
      [ice, "gives a client up that does not answer its packets, keeps its flows, and takes it back"],
      [portal, "other keys or credentials, or a lost connection, make a new one; mappings and resources stay"]
    ]
  },
  {
    row: 28,
    symptom: "a client that was started again, and numbers its names anew, reaches the hosts of before",
    heldBy: [
      [portal, "renumbered proxies mean that the client has started again: all its names are cleared, nobody else's"],
      [resolutions, "a client that renumbers its proxies loses the mapping that had them; another client does not"],
      [flows, "by another mapping taking its proxy"]
    ]
  },
  {
    row: 29,
    symptom: "a name that does not exist makes clients ask for access without end",
    heldBy: [
      [answers, "is unreachable under a portal, too, when only its address is missing: asking again would not help"]
    ]
  },
  {
    row: 30,
    symptom: "new connections go to an address that DNS no longer gives",
    heldBy: [
      [engine, "keeps its real address when the answer changes, while new flows follow"],
      [resolutions, "an unanswered session makes the name be looked up again, and new flows follow the new answer"]
    ]
  },
  {
    row: 31,
    symptom: "a name with IPv6 addresses only cannot be reached",
    heldBy: [[answers, ", and over the other family told to be unreachable"]]
  },
  {
    row: 32,
    symptom: "ICMP errors that a client itself sends are taken for flows",
    heldBy: [[engine, "is dropped silently when it is a later fragment alone, multicast or an ICMP error"]]
  },
  {
    row: 33,
    symptom: "clients reach each other by the way of the Internet",
    heldBy: [
      [networks, "leads to no other client, no proxy IP and nothing else of the tunnel's ranges, nor from there"],
      [engine, "never reaches another client's tunnel address"]
    ]
  },
  {
    row: 34,
    symptom: "access to the Internet is access to the gateway's own network",
    heldBy: [[networks, "reaches public addresses of both families and nothing private"]]
  },
  {
    row: 35,
    symptom: "a lookup that times out leaves the name's proxy IPs without a way, and the old answer is lost",
    heldBy: [
      [portal, "stay mapped when the lookup times out: unresolved at first, by the last good answer later"],
      [resolutions, "a failing resolver does not take the last good answer, for 30 minutes"]
    ]
  },
  {
    row: 36,
    symptom: "repeated SYNs go on to a dead address for a minute although DNS has another one",
    heldBy: [
      [engine, "moves to the new address when nothing has come back from the old one"],
      [sessions, "rebinds an unconfirmed session to the new target, on a free port, and no confirmed one"]
    ]
  },
  {
    row: 37,
    symptom: "a client chooses proxy IPs so that the gateway sends other addresses its way",
    heldBy: [
      [portal, "a request that must not be granted changes nothing and gets no answer; the next one does"],
      [portal, "are Inactive at once, with nothing changed, when not authorized, not matching, or out of range"],
      [acceptor, " and changes nothing"]
    ]
  },
  {
    row: 38,
    symptom: "a flow goes on by a resource that was revoked, or by another one on the same host",
    heldBy: [
      [shared, "end apart: with its resource one flow ends in both directions, for good, and the other goes on"],
      [shared, "goes on when the network is revoked, whose own flow to that host ends"],
      [flows, "by RevokeResource"]
    ]
  },
  {
    row: 39,
    symptom: "after the host has slept, time-outs count as if no time had passed",
    heldBy: [
      [bootClock, "goes on over a sleep of the host"],
      [outage, "goes on after the gateway's host slept for an hour, "],
      [authorizations, "are cut within a second of waking up when they ended while the host slept"]
    ]
  }
]

/** What was wrong with the first attempt at accepting before DNS has answered. */
const flaws: ReadonlyArray<Bug> = [
  {
    row: 1,
    symptom: "a client whose first lookup takes more than a second is removed as one without resources",
    heldBy: [[portal, "a client whose lookup hangs stays until its authorization ends"]]
  },
  {
    row: 2,
    symptom: "a name is looked up once for each of its proxy IPs",
    heldBy: [[resolutions, "a burst of packets for an unresolved mapping leads to exactly one lookup"]]
  },
  {
    row: 3,
    symptom: "another lookup begins while one is under way",
    heldBy: [[refresh, "absorbs every cause while a lookup is in flight"]]
  },
  {
    row: 4,
    symptom: "idle names are refreshed for ever",
    heldBy: [
      [gateway, "is never looked up while idle, whatever its TTL"],
      [resolutions, "the end of the TTL leads to a lookup once traffic notices it, and to none for an idle name"]
    ]
  },
  {
    row: 5,
    symptom: "failures and unchanged answers are repeated without a pause",
    heldBy: [
      [refresh, "backs off from 1 s to 60 s while nothing changes"],
      [refresh, "lets one probe a second through while open, whatever the cause"]
    ]
  },
  {
    row: 6,
    symptom: "a client that connects again loses its resources and flows",
    heldBy: [
      [portal, "other keys or credentials, or a lost connection, make a new one; mappings and resources stay"],
      [ice, "replaces the connection when the credentials are others, and the client's flows go on"],
      [ice, "keeps the flows of a client that starts again with another key"]
    ]
  },
  {
    row: 7,
    symptom: "the first packets, which come before the first answer, are lost",
    heldBy: [
      [engine, "waits during the first lookup and leaves in order when it succeeds"],
      [engine, "is answered after 2 seconds of a first lookup that does not end, and at once from then on"]
    ]
  },
  {
    row: 8,
    symptom: "an answer is taken although its name was released or replaced meanwhile",
    heldBy: [
      [resolutions, "an answer that comes after the name was released and asked again changes nothing"],
      [names, "drops the late answer of a lookup whose name was released and asked for again"],
      [engine, "ignores the answer of an older lookup"]
    ]
  },
  {
    row: 9,
    symptom: "names that a resource does not cover are looked up before they are refused",
    heldBy: [
      [acceptor, " and changes nothing"],
      [pattern, "covers exactly the names that the rules of 1.2.0 say"]
    ]
  },
  {
    row: 10,
    symptom:
      "a name of which one address answers is never looked up for the others (meant so: nothing live is touched)",
    heldBy: [
      [silence, "is broken by any reply of the mapping since, on whatever session and port"],
      [flows, "leaves out one that is silent while a sibling answers, for this client only"]
    ]
  }
]

/** What the releases after it still had wrong. */
const later: ReadonlyArray<Bug> = [
  {
    row: 1,
    symptom: "an announcement that is not authorized clears the client's own names",
    heldBy: [[portal, "are Inactive at once, with nothing changed, when not authorized, not matching, or out of range"]]
  },
  {
    row: 2,
    symptom: "a repeated grant replaces the filters and leaves the old expiry",
    heldBy: [
      [portal, "an authorization ends within a second of its deadline, which may be moved both ways"],
      [authorizations, "a new deadline replaces the old one"]
    ]
  }
]

const root = new URL("../../../", import.meta.url)

/** Whether the file has a string (the title of a test or of what it loops over) with that piece in it. */
const has = ([file, title]: Held): boolean =>
  readFileSync(new URL(file, root), "utf8")
    .split("\n")
    .some((line) => {
      const at = line.indexOf(title)
      return at > 0 && /["'`]/.test(line.slice(0, at)) && !/^\s*(\/\/|\*|import )/.test(line)
    })

const numbers = (list: ReadonlyArray<Bug>) => list.map(({ row }) => row)
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

describe.each([
  ["the regression checklist", bugs, 39],
  ["the flaws of the first attempt", flaws, 10],
  ["the flaws after it", later, 2]
] as const)("%s", (_, list, count) => {
  it("has every row once, in order", () => {
    assert.deepStrictEqual(numbers(list), upTo(count))
  })

  it.each(list.map((bug) => [bug.row, bug.symptom, bug] as const))("%i: %s", (_row, _symptom, bug) => {
    assert.isTrue(bug.heldBy.length > 0 || (bug.cannotApply ?? "").length > 20, "neither a test nor a reason")
    assert.deepStrictEqual(
      bug.heldBy.filter((held) => !has(held)),
      []
    )
  })
})
