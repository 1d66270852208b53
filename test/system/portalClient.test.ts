/** Our client's end at the development portal, each in its own namespace. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import { startOrigins, startVisitor } from "../../src/lab/demo/company.ts"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { statusAt } from "../../src/lab/demo/statusAt.ts"
import { explainAt, onlyLine } from "../support/operator.ts"
import { inPairs } from "../support/inPairs.ts"
import { curl, dig, digFully, inLab, inner, outer } from "../support/lab.ts"
import { eventually } from "../support/portalDeployment.ts"
import { portalUrl, says, startPortal, startPortalClient, startPortalGateway } from "../support/portalLab.ts"

const resources = `  web: { name: "*.corp.internal" }
  net: { cidr: ${inner.network.v4} }`
const server = "100.100.111.1"

inPairs("a client gets addresses, routes and a DNS server from the portal, and leaves nothing behind", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const portal = yield* startPortal(resources)
    const client = yield* startPortalClient()
    yield* says(client.output, "message=ready")

    const addresses = yield* lab.exec("client", ["ip", "-o", "address", "show", "dev", "sallyport-c0"])
    const routes = yield* lab.exec("client", ["ip", "route"])
    // Nobody serves the name: the question waits for a gateway for a while, and is answered all the same.
    const proxies = yield* dig("client", server, "+time=6", "www.corp.internal")
    const proxies6 = yield* dig("client", server, "+time=6", "www.corp.internal", "AAAA")
    const others = yield* digFully("client", server, "www.example.com")
    yield* says(client.output, "no gateway for resource")
    const code = yield* client.stop
    const left = yield* lab.attempt("client", ["ip", "link", "show", "dev", "sallyport-c0"])

    assert.match(addresses, /inet 100\.(6[4-9]|[78]\d|9[0-5])\.\d+\.\d+\/32/)
    assert.match(addresses, /inet6 fd00:2021:1111::[0-9a-f:]+\/128/)
    for (const network of ["100.96.0.0/11", inner.network.v4]) {
      assert.match(routes, new RegExp(`^${network} dev sallyport-c0 .*src 100\\.`, "m"))
    }
    assert.deepStrictEqual(proxies, ["100.96.0.1", "100.96.0.2", "100.96.0.3", "100.96.0.4"])
    assert.deepStrictEqual(
      proxies6,
      [1, 2, 3, 4].map((n) => `fd00:2021:1111:8000::${n}`)
    )
    assert.include(others, "status: REFUSED")
    assert.deepStrictEqual([code, left.code], [0, 1])
    assert.match(yield* portal.output, /client laptop \(1\.4\.4, alice\) connected/)
  }).pipe(inLab)
)

inPairs("a client without IPv6, on a host that has a route of its own to a resource, is there for all the rest", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    for (const name of ["all", "default"]) {
      yield* lab.exec("client", ["sysctl", "-qw", `net.ipv6.conf.${name}.disable_ipv6=1`])
    }
    yield* lab.exec("client", ["ip", "route", "add", inner.network.v4, "via", outer.gateway.v4, "metric", "77"])
    yield* startPortal(resources)
    const sealed = ["unshare", "--mount", "sh", "-c", 'mount --bind -o ro /proc/sys /proc/sys && exec "$@"', "sh"]
    const client = yield* startPortalClient("client-secret", { FIREZONE_ACTIVATE_INTERNET_RESOURCE: "true" }, sealed)
    yield* says(client.output, "message=ready")

    const addresses = yield* lab.exec("client", ["ip", "-o", "address", "show", "dev", "sallyport-c0"])
    const routes = yield* lab.exec("client", ["ip", "route"])
    const proxies = yield* dig("client", server, "+time=6", "www.corp.internal")
    const log = yield* client.output

    assert.notInclude(addresses, "inet6")
    assert.match(routes, new RegExp(`^${inner.network.v4} via .* metric 77`, "m"))
    assert.notMatch(routes, new RegExp(`^${inner.network.v4} dev sallyport-c0`, "m"))
    assert.strictEqual(proxies.length, 4)
    assert.include(log, "IPv6 is off on this host")
    assert.include(log, `${inner.network.v4} stays out of the tunnel: this host has a route to it already`)
    assert.strictEqual(yield* client.stop, 0)
  }).pipe(inLab)
)

inPairs("a client that the portal does not know is told so in one line", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    yield* startPortal(resources)
    const result = yield* lab.attempt("client", [...lab.program("sallyport"), "connect", "--portal"], {
      timeout: "20 seconds",
      env: { FIREZONE_TOKEN: "wrong", FIREZONE_API_URL: portalUrl }
    })
    const line = onlyLine(result)
    assert.match(line, /the portal refuses the token \(HTTP status 401\)/)
    assert.notInclude(line, "wrong")
  }).pipe(inLab)
)

inPairs("a client reaches a network behind a gateway of the portal, also while the portal is away", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    yield* startOrigins
    const portal = yield* startPortal(resources)
    const gateway = yield* startPortalGateway()
    yield* says(gateway.output, "message=ready")
    const client = yield* startPortalClient()
    yield* says(client.output, "message=ready")
    yield* says(client.output, "connected, direct")

    const page = yield* curl("client", `http://${inner.origin.v4}/`)
    // No name server answers the gateway: the name is accepted all the same.
    const proxies = yield* dig("client", server, "+time=6", "www.corp.internal")
    const socket = `${lab.directory}/gateway.sock`
    const [row] = (yield* statusAt(lab, socket)).clients
    const reached = yield* explainAt(socket, row!.name, `${inner.origin.v4}:80`)
    const unasked = yield* explainAt(socket, row!.name, "wiki.example.internal")
    const sallyport = (...words: ReadonlyArray<string>) =>
      lab.attempt("gateway", [...lab.program("sallyport"), ...words, "--socket", socket])
    const rotated = yield* sallyport("key", "rotate")
    const forgotten = yield* sallyport("forget-gateway", "0")
    yield* portal.kill
    const without = yield* curl("client", `http://${inner.origin.v4}/`)
    const told = yield* says(gateway.output, "no connection to the portal")

    assert.deepStrictEqual([page.exitcode, page.http_code], [0, 200])
    assert.strictEqual(proxies.length, 4)
    assert.strictEqual(reached.reaches, "yes", JSON.stringify(reached))
    assert.match(unasked.steps.at(-1)!.what, /^the portal has not authorized .* for wiki\.example\.internal .* so far$/)
    assert.strictEqual(rotated.code, 1)
    assert.match(
      rotated.stderr,
      /^sallyport: the portal tells clients this gateway's key, another one with each start — /
    )
    assert.match(forgotten.stderr, /^sallyport: the portal says which gateways there are; /)
    assert.deepStrictEqual([without.exitcode, without.http_code], [0, 200])
    assert.notInclude(told, "gateway-secret")
    assert.strictEqual(yield* client.stop, 0)
    assert.strictEqual(yield* gateway.stop, 0)
    assert.strictEqual((yield* lab.attempt("client", ["ip", "link", "show", "dev", "sallyport-c0"])).code, 1)
  }).pipe(inLab)
)

inPairs("a client of generation A reaches a network behind a gateway, and asks for a name", () =>
  Effect.gen(function* () {
    yield* startOrigins
    const portal = yield* startPortal(resources)
    const gateway = yield* startPortalGateway()
    yield* says(gateway.output, "message=ready")
    const client = yield* startPortalClient("client-secret", { SALLYPORT_PORTAL_GENERATION: "A" })
    yield* says(client.output, "message=ready")
    yield* says(client.output, "connected, direct")

    const page = yield* curl("client", `http://${inner.origin.v4}/`)
    const proxies = yield* dig("client", server, "+time=6", "www.corp.internal")

    assert.include(yield* client.output, "generation=A")
    assert.deepStrictEqual([page.exitcode, page.http_code], [0, 200])
    assert.strictEqual(proxies.length, 4)
    assert.include(yield* portal.output, "laptop asks for web")
  }).pipe(inLab)
)

for (const families of ["both families", "IPv6 alone"]) {
  inPairs(`a gateway whose port is taken in ${families} says which one it has instead, and is reached there`, () =>
    Effect.gen(function* () {
      const lab = yield* Lab
      const socket = `require("dgram").createSocket({ type: "udp6", ipv6Only: ${families === "IPv6 alone"} })`
      yield* lab.spawn("gateway", [process.execPath, "-e", `${socket}.bind(52625)`])
      yield* eventually(
        "the port is taken",
        20,
        lab.exec("gateway", ["ss", "-Hlun", "sport = :52625"]),
        (rows) => rows !== ""
      )
      yield* startOrigins
      const visitor = yield* startVisitor()
      yield* startPortal(resources)
      const gateway = yield* startPortalGateway()
      yield* says(gateway.output, "message=ready")
      const client = yield* startPortalClient()
      yield* says(client.output, "message=ready")
      yield* says(client.output, "connected, direct")

      const page = yield* visitor.get({ address: inner.origin.v4, path: "/bytes/2000000" })
      const log = yield* gateway.output
      const told = [...log.matchAll(/UDP port 52625 is taken: using (\d+)/g)].map((match) => match[1])
      const own = yield* lab.exec("gateway", ["ss", "-Hlun", `sport = :${told[0]}`])

      assert.strictEqual(page.sha256, page.expected)
      assert.lengthOf(told, 1, log)
      assert.notStrictEqual(told[0], "52625")
      assert.match(own, /0\.0\.0\.0:/)
      assert.match(own, /\[::\]:/)
      assert.notInclude(log, "IPv6 is off")
    }).pipe(inLab)
  )
}
