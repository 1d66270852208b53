/** What programs with a connected UDP socket hear of names that lead nowhere: the kernel finds their socket by the packet quoted. */
import { assert, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { Lab } from "../../src/lab/demo/Lab.ts"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { dig, digFully, inLab, inner } from "../support/lab.ts"
import { appName, connectWireguardGo, startWorld } from "../support/labWorld.ts"

const dns = tunnelAddresses.gateway.v4
const gone = "gone.corp.internal"

/** Sends one datagram and prints what its socket was told, and whether that took a second. */
const program = `
  const [address] = process.argv.slice(1)
  const socket = require("dgram").createSocket(address.includes(":") ? "udp6" : "udp4")
  let began
  const end = (heard) => {
    console.log(heard, performance.now() - began < 1000 ? "at once" : "late")
    process.exit(0)
  }
  socket.on("error", ({ code }) => end(code))
  socket.connect(9999, address, () => {
    began = performance.now()
    socket.send("anybody there?")
    setTimeout(() => end("nothing"), 20000)
  })
`

const heardFrom = Effect.fnUntraced(function* (name: string) {
  const lab = yield* Lab
  const heard = []
  for (const type of ["A", "AAAA"]) {
    const [address = "none"] = yield* dig("client", dns, name, type)
    heard.push((yield* lab.exec("client", [process.execPath, "-e", program, address])).trim())
  }
  return heard
})

it.live("a UDP program hears ECONNREFUSED of a name without address, and of a real host that cannot be reached", () =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const world = yield* startWorld({
      resources: `  intranet: { name: ${appName}, resolver: corp, allow: [visitor] }
  gone: { name: ${gone}, resolver: corp, allow: [visitor] }`
    })
    yield* connectWireguardGo(world)
    // Nothing is known of it yet, so that it gets an address.
    const proxy = yield* world.proxyOf(gone)
    yield* digFully("client", dns, gone).pipe(
      Effect.repeat({ until: (said) => said.includes("NXDOMAIN"), schedule: Schedule.spaced("200 millis") }),
      Effect.timeout("20 seconds")
    )
    const ofGone = yield* lab.exec("client", [process.execPath, "-e", program, proxy])
    for (const address of [`${inner.origin.v4}/32`, `${inner.origin.v6}/128`])
      yield* lab.exec("gateway", ["ip", "route", "add", "unreachable", address])
    yield* dig("client", dns, appName).pipe(
      Effect.andThen(world.gateway.status),
      Effect.repeat({
        until: ({ mappings }) => mappings.some(({ domain, state }) => domain === appName && state === "Resolved"),
        schedule: Schedule.spaced("200 millis")
      }),
      Effect.timeout("20 seconds")
    )

    assert.strictEqual(ofGone.trim(), "ECONNREFUSED at once")
    assert.deepStrictEqual(yield* heardFrom(appName), ["ECONNREFUSED at once", "ECONNREFUSED at once"])
  }).pipe(inLab)
)
