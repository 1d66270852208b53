/** `sallyport explain` at a gateway that runs, with a client that is there: what works, and each thing that can be in the way. */
import { assert, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import type { Explanation } from "../../src/cli/explanation.ts"
import { renderExplanation } from "../../src/cli/renderExplanation.ts"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { inLab, inner } from "../support/lab.ts"
import { appName, connectWireguardGo, startWorld } from "../support/labWorld.ts"
import { explainAt } from "../support/operator.ts"

const someKey = "BKvcnKpFBAl+nNGYZdLBWaVxfFpxZhBd9s1VmmHRBhY="

it.live("an operator is told why a client reaches a name, or what is in its way; and tests of the file hold it", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startWorld({
      clients: `  bob: { public_key: "${someKey}" }`,
      resources: `  intranet: { name: ${appName}, ports: [tcp/80], resolver: corp, allow: [visitor, bob] }
  missing: { name: missing.corp.internal, resolver: corp, allow: [visitor] }
  dead: { name: dead.corp.internal, resolver: corp, allow: [visitor] }
  far: { name: far.corp.internal, resolver: corp, allow: [visitor] }
  gone: { name: gone.corp.internal, resolver: corp, allow: [visitor], expires: 2020-01-01 }
  hole: { cidr: 172.31.9.0/24, allow: [visitor] }
  lan: { cidr: ${inner.origin.v4}/32, ports: [icmp, tcp/22], allow: [visitor] }`
    })
    const { configPath: file } = world.gateway
    yield* world.nameServer.set({ name: "dead.corp.internal", a: [inner.otherOrigin.v4], ttl: 60 })
    yield* world.nameServer.set({ name: "far.corp.internal", a: ["172.31.0.1"], ttl: 60 })
    yield* lab.exec("lan", ["nft", "-f", "-"], {
      input: `table inet dead { chain in { type filter hook input priority 0; ip daddr ${inner.otherOrigin.v4} drop; tcp dport 22 drop; }; }\n`
    })
    yield* lab.exec("gateway", ["ip", "route", "add", "blackhole", "172.31.9.0/24"])
    const sallyport = (...words: ReadonlyArray<string>) =>
      lab.attempt("gateway", [...lab.program("sallyport"), ...words, "--config", file], { timeout: "30 seconds" })
    const explain = (client: string, target: string) => sallyport("explain", client, target)
    const asked = (client: string, target: string) => explainAt(`${lab.directory}/gateway.sock`, client, target)
    const textOf = (explanation: Explanation) => renderExplanation(explanation, null)
    /** Whether it is reached, and the last step. */
    const last = (client: string, target: string) =>
      Effect.map(asked(client, target), ({ reaches, steps }) => {
        const { part, what } = steps.at(-1)!
        return `${reaches} ${part}: ${what}`
      })

    const before = textOf(yield* asked("visitor", `${appName}:80`))
    const { mappings } = yield* world.gateway.status
    yield* connectWireguardGo(world, { allowedIps: [`${inner.origin.v4}/32`] })
    const proxy = yield* world.proxyOf()
    yield* world.visitor.retry({ address: proxy, every: 100, deadline: 20_000 })
    yield* asked("visitor", `${appName}:80`).pipe(
      Effect.repeat({
        until: (explanation) => textOf(explanation).includes("in use"),
        schedule: Schedule.spaced("300 millis"),
        times: 60
      })
    )
    const json = yield* sallyport("explain", "visitor", `${appName}:80`, "--json")
    const used = yield* explain("visitor", `${appName}:80`)
    yield* world.visitor.connect({ address: inner.origin.v4, port: 22, timeout: 500 })
    const dead = yield* world.proxyOf("dead.corp.internal")
    yield* Effect.forkScoped(Effect.forever(Effect.ignore(world.visitor.connect({ address: dead, timeout: 1_000 }))))
    const told = [
      yield* last("visitor", `${proxy}:443`),
      yield* last("visitor", "missing.corp.internal"),
      yield* last("visitor", "far.corp.internal"),
      yield* last("visitor", "172.31.9.9"),
      yield* last("visitor", "gone.corp.internal"),
      yield* last("visitor", `${inner.origin.v4}/icmp`),
      yield* last("bob", "far.corp.internal")
    ]
    const never = textOf(yield* asked("bob", `${appName}:80`))
    const until = (text: string, target: string) =>
      Effect.repeat(last("visitor", target), {
        until: (told) => told.startsWith(text),
        schedule: Schedule.spaced("300 millis"),
        times: 80
      })
    const silent = yield* until(`no host: ${inner.otherOrigin.v4} does not answer`, "dead.corp.internal:80")
    const filtered = yield* until("no host: no answer", `${inner.origin.v4}:22`)
    const usage = [yield* explain("visitor", "app:99999"), yield* sallyport("explain", "visitor")]

    writeFileSync(
      file,
      `${readFileSync(file, "utf8")}tests:\n  - { client: bob, reach: "${appName}:22", expect: allowed }\n`
    )
    const refused = yield* sallyport("reload")
    writeFileSync(file, readFileSync(file, "utf8").replace("expect: allowed", "expect: denied"))
    const taken = yield* sallyport("reload")
    yield* world.gateway.process.stop
    const without = yield* explain("visitor", `${appName}:80`)

    assert.match(before, /^✘ it is not connected, and was not since the gateway's start$/m)
    assert.match(
      before,
      new RegExp(`^✔ app\\.corp\\.internal is ${inner.origin.v4} \\S+, by corp \\(.*\\), asked just now$`, "m")
    )
    assert.match(before, /^✔ the gateway's host has a route to /m)
    assert.deepStrictEqual(mappings, [], "what explain looks up is not kept")
    assert.strictEqual(used.code, 0, used.stdout)
    const lines = used.stdout.trim().split("\n")
    assert.isTrue(
      lines.slice(0, -1).every((line) => line.startsWith("✔ ")),
      used.stdout
    )
    assert.match(used.stdout, /^✔ it is connected from 192\.0\.2\.2:\d+, last handshake \d+ s ago$/m)
    assert.match(used.stdout, /^✔ app\.corp\.internal is of intranet \(.*gateway\.yaml:\d+\); visitor may use it$/m)
    assert.match(used.stdout, /10\.20\.0\.53:53 answered \d+ s ago\), \d+ s ago; visitor is told 100\.96\./)
    assert.match(used.stdout, new RegExp(`^✔ ${inner.origin.v4} (is|was) in use`, "m"))
    assert.strictEqual(lines.at(-1), `visitor reaches ${appName}:80`)
    const { steps, ...verdict } = JSON.parse(json.stdout)
    assert.deepStrictEqual(verdict, { version: 1, client: "visitor", target: `${appName}:80`, reaches: "yes" })
    assert.lengthOf(steps, lines.length - 1)
    assert.deepStrictEqual(
      told.map((text) => text.replace(/ \((.*yaml|.* ago).*/, "")),
      [
        "no ports: tcp/443 does not pass: only tcp/80 (intranet)",
        "no lookup: the name does not exist, asked just now: corp",
        "no route: the gateway's host has no route to 172.31.0.1: Network is unreachable",
        "no route: the gateway's host has no route to 172.31.9.9: Invalid argument, as of a blackhole route",
        "no resource: the right of visitor to gone expired 2020-01-01T00:00:00.000Z",
        `yes host: nothing says that ${inner.origin.v4} would not answer; visitor has not used it lately`,
        "no resource: far has far.corp.internal and does not allow bob"
      ]
    )
    assert.match(never, /^✘ it is not connected/m)
    assert.match(never, /^✔ .* by corp \(.*\), \d+ s ago$/m)
    assert.match(
      silent,
      new RegExp(`^no host: ${inner.otherOrigin.v4} does not answer for \\d+ s \\(\\d+ (try|tries), no answer`)
    )
    assert.match(
      filtered,
      new RegExp(`^no host: no answer from ${inner.origin.v4} on tcp/22( within 3 s)?: the last flow `)
    )
    for (const { code, stderr } of usage) {
      assert.strictEqual(code, 2)
      assert.match(stderr, /^sallyport: .* — .*\n$/)
    }
    assert.strictEqual(refused.code, 1)
    assert.match(
      refused.stderr,
      /gateway\.yaml:\d+:5: the test expects allowed, but bob does not reach .*:22: tcp\/22 does not pass: .* — add tcp\/22 to ports: of intranet/
    )
    assert.strictEqual(taken.code, 0, taken.stderr)
    assert.strictEqual(without.code, 1)
    assert.match(without.stdout, /^\? no gateway is running .*: this is what the file says, the rest is not known$/m)
  }).pipe(inLab)
)
