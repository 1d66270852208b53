/** Hosts whose own firewall (or settings) take away what the gateway's clients send: it is told, with who and what to do. */
import { assert, it, layer } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { Lab, LabError } from "../../src/lab/demo/Lab.ts"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { dig, inLab, inner, outer } from "../support/lab.ts"
import { appName, connectWireguardGo, startWorld } from "../support/labWorld.ts"
import { stage, Stage } from "../support/stage.ts"

const device = "sallyport0"

/** Each as a host has it: rules for nft, or settings by commands; `removed` takes it back. */
const shapes = {
  "firewalld, a reject at the end of chains that accept": {
    rules: `table inet firewalld {
  chain filter_INPUT { type filter hook input priority filter + 10; policy accept;
    ct state { established, related } accept
    iifname lo accept
    ct state invalid drop
    udp dport 51820 accept
    jump filter_INPUT_ZONES
    reject with icmpx admin-prohibited
  }
  chain filter_INPUT_ZONES { iifname "inner" tcp dport 22 accept; }
  chain filter_FORWARD { type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    iifname lo accept
    reject with icmpx admin-prohibited
  }
}`,
    removed: "nft delete table inet firewalld",
    blames: [/reject with icmpx admin-prohibited.*inet firewalld filter_INPUT/, /inet firewalld filter_FORWARD/]
  },
  "ufw and Docker, policies that drop": {
    rules: `table ip filter {
  chain INPUT { type filter hook input priority filter; policy drop;
    iifname lo accept
    ct state related,established accept
    jump ufw-user-input
  }
  chain ufw-user-input { udp dport 51820 accept; }
  chain FORWARD { type filter hook forward priority filter; policy drop;
    jump DOCKER-USER
    oifname "docker0" ct state related,established accept
  }
  chain DOCKER-USER { return; }
}`,
    removed: "nft delete table ip filter",
    blames: [/the policy \\"drop\\" of the firewall chain \\"ip filter INPUT\\"/, /ip filter FORWARD/]
  },
  "a chain of another overlay network": {
    rules: `table ip filter {
  chain ts-input { iifname != "tailscale0" ip saddr 100.64.0.0/10 drop; }
  chain INPUT { type filter hook input priority filter; policy accept; jump ts-input; }
}`,
    removed: "nft delete table ip filter",
    blames: [/tailscale0 ip saddr 100.64.0.0\/10 drop.*ip filter ts-input/]
  },
  "Docker, which keeps others from its containers": {
    rules: `table ip raw {
  chain PREROUTING { type filter hook prerouting priority raw; policy accept; ip daddr ${inner.origin.v4} iifname != "docker0" counter drop; }
}`,
    removed: "nft delete table ip raw",
    blames: [/clients' new ICMP connections.*iifname != docker0 counter drop.*ip raw PREROUTING/]
  },
  "output that is closed": {
    rules: `table inet out { chain output { type filter hook output priority filter; policy drop; oifname { "lo", "inner", "outer" } accept
}
}`,
    removed: "nft delete table inet out",
    blames: [/the gateway's (DNS answers|answers to pings).*inet out output/]
  },
  "answers of resources that are not let back": {
    rules: `table inet back { chain forward { type filter hook forward priority filter; policy drop; iifname "${device}" accept
}
}`,
    removed: "nft delete table inet back",
    blames: [/ICMP answers of resources.*inet back forward/]
  },
  "the port that nobody may come to": {
    rules: `table inet shut { chain input { type filter hook input priority filter; policy accept; iifname "outer" udp dport 51820 drop
}
}`,
    removed: "nft delete table inet shut",
    blames: [/clients' tunnel packets \(IPv4\).*udp dport 51820 drop.*inet shut input/]
  },
  "IPv6 that is not forwarded, beside IPv4 that is": {
    rules: `table ip6 filter {
  chain FORWARD { type filter hook forward priority filter; policy drop; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept; }
}`,
    removed: "nft delete table ip6 filter",
    blames: [/clients' new ICMP connections \(IPv6.*the policy \\"drop\\" of the firewall chain \\"ip6 filter FORWARD/]
  },
  "a reverse path filter, where what clients send is marked to leave by another way": {
    rules: `table ip marks {
  chain PREROUTING { type filter hook prerouting priority mangle; policy accept; iifname "${device}" meta mark set 77; }
}`,
    commands: `sysctl -qw net.ipv4.conf.inner.rp_filter=1
ip route add ${inner.origin.v4}/32 dev inner table 77
ip rule add fwmark 77 lookup 77
ip route add ${inner.origin.v4}/32 dev outer`,
    removed: `nft delete table ip marks
ip route del ${inner.origin.v4}/32 dev outer
ip rule del fwmark 77 lookup 77
ip route flush table 77
sysctl -qw net.ipv4.conf.inner.rp_filter=0`,
    blames: [
      /ICMP answers of resources \(IPv4.*the reverse path filter of inner \(net.ipv4.conf.inner.rp_filter is 1\)/
    ]
  }
} as const satisfies Record<string, Shape>

interface Shape {
  readonly rules?: string
  readonly commands?: string
  readonly removed: string
  readonly blames: ReadonlyArray<RegExp>
}

const foreign = stage({
  resources: `  intranet: { name: ${appName}, resolver: corp, allow: [visitor] }
  lan: { cidr: ${inner.origin.v4}/32, allow: [visitor] }
  lan6: { cidr: "${inner.origin.v6}/128", allow: [visitor] }`,
  allowedIps: [`${inner.origin.v4}/32`, `${inner.origin.v6}/128`]
})

const inGateway = (command: string) => Effect.flatMap(Lab, (lab) => lab.exec("gateway", ["sh", "-ec", command]))

const load = (rules: string) => Effect.flatMap(Lab, (lab) => lab.exec("gateway", ["nft", "-f", "-"], { input: rules }))

const ping = (address: string) =>
  Effect.flatMap(Lab, (lab) => lab.attempt("client", ["ping", "-c", "1", "-W", "1", address]))

/** DNS, a ping of the gateway and one of a resource in each family. */
const use = Effect.gen(function* () {
  const [names, ...pings] = yield* Effect.all(
    [
      dig("client", tunnelAddresses.gateway.v4, appName, "A"),
      ...[tunnelAddresses.gateway.v4, inner.origin.v4, inner.origin.v6].map(ping)
    ] as const,
    { concurrency: 4 }
  )
  return names.length > 0 && pings.every(({ code }) => code === 0)
})

const works = use.pipe(Effect.repeat({ until: (well) => well, schedule: Schedule.spaced("100 millis"), times: 30 }))

const warnings = Effect.gen(function* () {
  const log = yield* (yield* Stage).world.gateway.process.output
  return log.split("\n").filter((line) => line.includes("level=WARN"))
})

const warningsBeside = (known: ReadonlyArray<string>) =>
  Effect.map(warnings, (lines) => lines.filter((line) => !known.includes(line)))

const healed = Effect.gen(function* () {
  const { gateway } = (yield* Stage).world
  yield* Effect.andThen(use, gateway.status).pipe(
    Effect.filterOrFail(
      (report) => report.firewall?.lost.length === 0,
      (report) => new LabError({ message: `not healed: ${JSON.stringify(report.firewall)}` })
    ),
    Effect.retry({ schedule: Schedule.spaced("500 millis"), times: 20 })
  )
})

layer(foreign, { excludeTestServices: true, timeout: "60 seconds" })("a gateway on a host", (it) => {
  for (const [name, shape] of Object.entries<Shape>(shapes)) {
    it.effect(`says who takes its packets away, what lets them through, and when they come again: ${name}`, () =>
      Effect.gen(function* () {
        const { gateway } = (yield* Stage).world
        assert.isTrue(yield* works)
        const known = yield* warnings
        const impose = Effect.gen(function* () {
          if (shape.rules !== undefined) yield* load(shape.rules)
          if (shape.commands !== undefined) yield* inGateway(shape.commands)
        })
        yield* Effect.acquireRelease(impose, () => Effect.ignore(inGateway(shape.removed)))

        const told = yield* use.pipe(
          Effect.andThen(warningsBeside(known)),
          Effect.filterOrFail(
            (lines) => shape.blames.every((blame) => lines.some((line) => blame.test(line))),
            (lines) => new LabError({ message: lines.join("\n") })
          ),
          Effect.retry({ schedule: Schedule.spaced("300 millis"), times: 20 })
        )
        const during = yield* gateway.status
        const commands = told.flatMap((line) =>
          [...line.matchAll(/\\"((?:nft|sysctl) .*?)\\"/g)].map(([, c = ""]) => c)
        )
        for (const command of commands) yield* inGateway(command)

        assert.strictEqual(told.length, shape.blames.length, told.join("\n"))
        assert.isAtLeast(during.firewall?.lost.length ?? 0, 1)
        assert.isTrue(yield* works, `the commands that were told do not help: ${commands.join("; ")}`)
        yield* healed
      })
    )
  }

  it.effect("does not count where very many packets come through, until a rule changes: then it tells as ever", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      assert.isTrue(yield* works)
      const known = yield* warnings
      const counting = Effect.map(inGateway("nft list tables"), (tables) => tables.includes(`${device}.paths`))
      const until = (on: boolean) =>
        counting.pipe(
          Effect.filterOrFail(
            (now) => now === on,
            () => new LabError({ message: `it ${on ? "does not count" : "counts"}` })
          ),
          Effect.retry({ schedule: Schedule.spaced("200 millis"), times: 100 })
        )
      yield* until(true)
      const flood = ["ping", "-q", "-f", "-l", "20", "-w", "40", inner.origin.v4]
      yield* Effect.forkScoped(lab.attempt("client", flood, { timeout: "60 seconds" }))
      yield* until(false)

      const { blames, removed, rules } = shapes["firewalld, a reject at the end of chains that accept"]
      yield* load(rules)
      yield* until(true)
      yield* use.pipe(
        Effect.andThen(warningsBeside(known)),
        Effect.filterOrFail(
          (lines) => blames.every((blame) => lines.some((line) => blame.test(line))),
          (lines) => new LabError({ message: lines.join("\n") })
        ),
        Effect.retry({ schedule: Schedule.spaced("300 millis"), times: 20 }),
        Effect.ensuring(Effect.ignore(inGateway(removed)))
      )
      yield* healed
    })
  )

  it.effect("says nothing of a burst that a limit cuts, and of a rule for others", () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      assert.isTrue(yield* works)
      const known = yield* warnings
      yield* load(`table inet limited { chain input { type filter hook input priority filter; policy accept;
  iifname "${device}" icmp type echo-request limit rate over 5/second burst 5 packets drop
  iifname "inner" tcp dport 22 drop
}
}`)
      yield* lab.attempt("client", ["ping", "-c", "100", "-i", "0.005", "-W", "1", tunnelAddresses.gateway.v4])
      for (let round = 0; round < 4; round++) yield* Effect.delay(use, "500 millis")
      assert.deepStrictEqual(yield* warningsBeside(known), [])
    })
  )
})

it.live("says that a device of the LAN is not to forward, where somebody has set it so before", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const shell = (command: string) => lab.exec("gateway", ["sh", "-ec", command])
    yield* shell("sysctl -qw net.ipv4.ip_forward=1; sysctl -qw net.ipv4.conf.inner.forwarding=0")
    const world = yield* startWorld({ resources: `  lan: { cidr: ${inner.origin.v4}/32, allow: [visitor] }` })
    yield* connectWireguardGo(world, { allowedIps: [`${inner.origin.v4}/32`] })
    const reach = lab.attempt("client", ["ping", "-c", "1", "-W", "1", inner.origin.v4])
    const [, command] = yield* Effect.andThen(reach, world.gateway.process.output).pipe(
      Effect.map((log) =>
        /answers of resources.*net\.ipv4\.conf\.inner\.forwarding, which is 0: run \\"(.*?)\\"/.exec(log)
      ),
      Effect.filterOrFail(
        (told) => told !== null,
        () => new LabError({ message: "it is not told" })
      ),
      Effect.retry({ schedule: Schedule.spaced("300 millis"), times: 20 })
    )
    yield* shell(command!)
    assert.strictEqual((yield* reach).code, 0)
  }).pipe(inLab)
)

it.live("a port that the host translates to the gateway's leads clients in, as with any service over UDP", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startWorld({ resources: `  lan: { cidr: ${inner.origin.v4}/32, allow: [visitor] }` })
    yield* load(`table ip port { chain prerouting { type nat hook prerouting priority dstnat; policy accept;
  iifname "outer" udp dport 443 redirect to :51820
}
}`)
    yield* connectWireguardGo(world, { allowedIps: [`${inner.origin.v4}/32`], endpoint: `${outer.gateway.v4}:443` })
    const reached = lab.attempt("client", ["ping", "-c", "1", "-W", "1", inner.origin.v4])
    const { code } = yield* reached.pipe(
      Effect.repeat({ until: ({ code }) => code === 0, schedule: Schedule.spaced("200 millis"), times: 50 })
    )
    assert.strictEqual(code, 0)
  }).pipe(inLab)
)
