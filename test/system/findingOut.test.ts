/** What an operator asks a gateway with a real client: what happened, what is wrong with the host, and a report for helpers. */
import { assert, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { readFileSync, statSync } from "node:fs"
import { withCompanyDns } from "../../src/lab/demo/withCompanyDns.ts"
import { Lab, LabError } from "../../src/lab/demo/Lab.ts"
import { gatewayPort } from "../../src/lab/demo/tunnel.ts"
import { inLab, inner, outer } from "../support/lab.ts"
import { appName, connectWireguardGo, startWorld } from "../support/labWorld.ts"

it.live("log, doctor and bugreport tell of refusals, flows, names, faults of the host, and nobody's secrets", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startWorld({ companyDns: true, more: "log_dns: true\nlog_level: trace" })
    const { gateway, visitor } = world
    yield* connectWireguardGo(world, { allowedIps: [`${inner.otherOrigin.v4}/32`] })
    const { configPath } = gateway
    const command = (...words: ReadonlyArray<string>) => [...lab.program("sallyport"), ...words, "--config", configPath]
    const sallyport = (...words: ReadonlyArray<string>) =>
      lab.attempt("gateway", command(...words), { timeout: "20 seconds" })
    const inCompany = (command: ReadonlyArray<string>) =>
      Effect.flatMap(withCompanyDns(command), (words) => lab.attempt("gateway", words, { timeout: "20 seconds" }))
    const doctor = inCompany(command("doctor"))
    /** Asked again until it has told so. */
    const until = (pattern: RegExp, ...words: ReadonlyArray<string>) =>
      sallyport("log", ...words).pipe(
        Effect.map(({ stdout }) => stdout),
        Effect.filterOrFail(
          (text) => pattern.test(text),
          (text) => new LabError({ message: `not told: ${String(pattern)}\n${text}` })
        ),
        Effect.retry({ schedule: Schedule.spaced("250 millis"), times: 40 })
      )

    const follower = yield* lab.spawn("gateway", command("log", "--follow", "--flows"))
    const proxy = yield* world.proxyOf()
    const page = yield* visitor.retry({ address: proxy, every: 100, deadline: 10_000 })
    yield* visitor.connect({ address: inner.otherOrigin.v4, timeout: 1_000 })

    const refused = yield* until(/refused visitor → 10\.20\.0\.20 tcp/, "--refused")
    const flows = yield* until(/flow (?!opened)\S+ visitor → .*: \d+ bytes out, \d+ in/, "--flows")
    const dns = yield* until(/asked visitor: app\.corp\.internal/, "--dns")
    const [json, ofNobody, ofVisitor] = yield* Effect.all(
      [
        sallyport("log", "--refused", "--json"),
        sallyport("log", "--client", "nobody"),
        sallyport("log", "--client", "visitor")
      ],
      { concurrency: 3 }
    )
    const followed = yield* Effect.repeat(follower.output, {
      until: (text) => /flow opened visitor/.test(text),
      schedule: Schedule.spaced("100 millis"),
      times: 200
    })

    assert.isNotNull(page)
    assert.match(refused, /no resource that the client may reach has this address/)
    assert.notMatch(refused, /flow|asked/)
    assert.match(flows, new RegExp(`flow opened visitor → app\\.corp\\.internal \\(${proxy}\\) tcp/\\d+ of intranet`))
    assert.notMatch(flows, /refused|asked/)
    assert.match(dns, /looked up app\.corp\.internal at corp .*10\.20\.0\.10/)
    const [first] = json.stdout.trim().split("\n")
    assert.strictEqual(JSON.parse(first ?? "{}").event._tag, "Refused")
    assert.strictEqual(ofNobody.stdout, "")
    assert.include(ofVisitor.stdout, "client visitor connected")
    assert.match(followed, /flow opened visitor/)

    const log = yield* gateway.process.output
    assert.match(log, /level=DEBUG.*refused visitor/)
    assert.match(log, /level=TRACE.*flow opened visitor/)

    // Beside the gateway: nothing fails.
    const beside = yield* doctor
    assert.strictEqual(beside.code, 0, beside.stdout + beside.stderr)
    for (const line of [
      /^PASS {2}gateway +it runs, up .*, 1 client, 1 connected$/m,
      /^PASS {2}port +the gateway listens on UDP port 51820$/m,
      /^PASS {2}resolvers +corp: 10\.20\.0\.53:53 answers after \d+ ms/m,
      /^PASS {2}resolvers +system: 10\.20\.0\.53:53 answers after \d+ ms/m,
      /^PASS {2}firewall +no rule of others/m
    ]) {
      assert.match(beside.stdout, line)
    }

    const archive = `${lab.directory}/report.tar`
    const packed = yield* sallyport("bugreport", archive)
    assert.strictEqual(packed.code, 0, packed.stderr)
    assert.strictEqual(statSync(archive).mode & 0o777, 0o600)
    const bytes = readFileSync(archive, "utf8")
    const { privateKey, publicKey } = world.clientKeys
    const secrets = [privateKey, publicKey, gateway.publicKey, "visitor", "intranet", appName, "corp"]
    for (const secret of [...secrets, outer.client.v4, outer.gateway.v4, inner.origin.v4, inner.dns.v4, proxy]) {
      assert.notInclude(bytes, secret)
    }
    assert.include(bytes, '"_tag":"FlowOpened"')

    // Without the gateway: what stands in the way of the next start, and nothing is changed by looking.
    yield* follower.stop
    yield* gateway.process.stop
    const traces = Effect.all([
      lab.exec("gateway", ["nft", "list", "ruleset"]),
      lab.exec("gateway", ["ip", "address"]),
      lab.exec("gateway", ["ip", "route", "show", "table", "all"]),
      lab.exec("gateway", ["sh", "-c", "cat /proc/sys/net/ipv4/ip_forward; ss -Hlntu"])
    ])
    const forward = "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"
    yield* lab.exec("gateway", ["nft", `add table ip filter; ${forward}`])
    const occupy = `require("dgram").createSocket("udp4").bind(${gatewayPort}, () =>
      require("net").createServer().listen(53, "0.0.0.0", () => console.log("bound")))`
    const occupier = yield* lab.spawn("gateway", [process.execPath, "-e", occupy])
    yield* Effect.repeat(occupier.output, {
      until: (text) => text.includes("bound"),
      schedule: Schedule.spaced("50 millis"),
      times: 200
    })
    const before = yield* traces
    const alone = yield* doctor
    assert.deepStrictEqual(yield* traces, before)
    assert.strictEqual(alone.code, 1, alone.stdout + alone.stderr)
    assert.strictEqual(alone.stderr, "")
    assert.match(alone.stdout, /^FAIL {2}port +UDP port 51820 is taken .*ss -lunp sport = :51820/m)
    assert.match(
      alone.stdout,
      /^FAIL {2}port +TCP 100\.64\.0\.1:53 is taken: a DNS server .* bind it to its own addresses$/m
    )
    assert.match(
      alone.stdout,
      /^FAIL {2}firewall .*"ip filter FORWARD" → run "nft insert rule ip filter FORWARD iifname/m
    )
    assert.match(alone.stdout, /^WARN {2}gateway +none runs/m)

    // On a host that lacks what a gateway needs, as far as the command sees; and where it may not look.
    yield* lab.exec("gateway", ["ip", "-batch", "-"], {
      input: `route replace default via ${outer.client.v4}\nlink set outer mtu 1300\n`
    })
    const wrap = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"]
    const [poor, nobody] = yield* Effect.all(
      [
        inCompany(["sh", "-c", poorHost, `${lab.directory}/gateway-state`, ...command("doctor")]),
        lab.attempt("gateway", [...wrap, ...command("doctor", "--json")], { timeout: "20 seconds" })
      ],
      { concurrency: 2 }
    )
    for (const line of [
      /^FAIL {2}tools +cannot use nft: "nft" is not installed; run "apt install nftables"/m,
      /^FAIL {2}tun +\/dev\/net\/tun is missing: run "modprobe tun"/m,
      /^FAIL {2}clock +the clock is behind: the state was written (1 h|59 min).* from now/m,
      /^FAIL {2}disk +\S+ has \d+ kB left → free some space$/m,
      /^WARN {2}mtu +full packets of the tunnel \(MTU 1280, 1340 bytes outside\) leave by outer \(MTU 1300\)/m
    ]) {
      assert.match(poor.stdout, line, poor.stderr)
    }
    const rows: ReadonlyArray<{ check: string; verdict: string; what: string }> = JSON.parse(nobody.stdout).rows
    assert.isDefined(
      rows.find((row) => row.verdict === "warn" && row.check === "firewall" && /looked at/.test(row.what))
    )
  }).pipe(inLab)
)

/** Mounts are the command's own. `$0`: the gateway's state directory. */
const poorHost = `set -e
tools=$(dirname "$(command -v nft)")
cp "$(command -v ip)" "$0.ip"
mount -t tmpfs none "$tools"
cp "$0.ip" "$tools/ip"
mount -t tmpfs none /dev/net
mount -t tmpfs -o size=512k none "$0"
touch -d "+1 hour" "$0/state.db"
exec "$@"`
