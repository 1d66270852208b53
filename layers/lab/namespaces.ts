/** The lab's three hosts: network namespaces and the wires between them. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Dual, type LabError, labAddresses, type LabHost } from "../../src/lab/demo/Lab.ts"
import { removeAbandoned, removeNamespace } from "./abandoned.ts"
import { runCommand } from "./command.ts"

const prefix = "sallyport-lab"

/** Name prefix of one lab; the process id in it says who owns it. */
export const labId = (processId: number, serial: number): string => `${prefix}-${processId}-${serial}`

export const namespaceOf = (id: string, host: LabHost): string => `${id}-${host}`

/** Makes hosts and wires of a lab; closing the scope removes them, and everything that still runs in them. */
export type MakeNamespaces = (id: string) => Effect.Effect<void, LabError, Scope.Scope>

/** Client and gateway on one wire. */
export const makeNamespaces: MakeNamespaces = Effect.fnUntraced(function* (id: string) {
  const name = (host: LabHost): string => namespaceOf(id, host)
  const { inner, outer } = labAddresses
  yield* makeHosts(id, ["client", "gateway", "lan"])
  yield* wire("outer", name("client"), name("gateway"))
  yield* configure(name("client"), "outer", [outer.client])
  yield* configure(name("gateway"), "outer", [outer.gateway])
  yield* wire("inner", name("lan"), name("gateway"))
  yield* configure(name("gateway"), "inner", [inner.gateway])
  yield* configure(name("lan"), "inner", [inner.dns, inner.origin, inner.otherOrigin])
})

/** Client and gateway at two homes, each behind a router that forwards; the routers meet on the internet. */
export const makeWideNamespaces: MakeNamespaces = Effect.fnUntraced(function* (id: string) {
  const name = (host: LabHost): string => namespaceOf(id, host)
  const { inner, wide } = labAddresses
  yield* makeHosts(id, ["client", "clientRouter", "internet", "gatewayRouter", "gateway", "lan"])
  yield* bridge(name("internet"), "wide", [wide.portal, wide.relay, wide.otherRelay])
  for (const home of ["client", "gateway"] as const) yield* makeHome(id, home)
  yield* wire("inner", name("lan"), name("gateway"))
  yield* configure(name("gateway"), "inner", [inner.gateway])
  yield* configure(name("lan"), "inner", [inner.dns, inner.origin, inner.otherOrigin])
})

/** Two gateways on the internet, both with a wire into the company network; one client at home and one on the internet. */
export const makeSiteNamespaces: MakeNamespaces = Effect.fnUntraced(function* (id: string) {
  const name = (host: LabHost): string => namespaceOf(id, host)
  const { inner, site } = labAddresses
  yield* makeHosts(id, ["client", "clientRouter", "internet", "openClient", "gateway", "otherGateway", "lan"])
  yield* bridge(name("internet"), "wide", [])
  yield* bridge(name("lan"), "inner", [inner.dns, inner.origin, inner.otherOrigin])
  yield* makeHome(id, "client")
  yield* plug("outer", name("openClient"), "wide", name("internet"), "to-openClient")
  yield* configure(name("openClient"), "outer", [site.openClient])
  for (const gateway of ["gateway", "otherGateway"] as const) {
    const port = `to-${gateway}`
    yield* plug("outer", name(gateway), "wide", name("internet"), port)
    yield* configure(name(gateway), "outer", [site[gateway].outer])
    yield* plug("inner", name(gateway), "inner", name("lan"), port)
    yield* configure(name(gateway), "inner", [site[gateway].inner])
  }
})

/** A client or gateway behind a router of its own, which has a wire to the internet. */
const makeHome = Effect.fnUntraced(function* (id: string, home: "client" | "gateway") {
  const name = (host: LabHost): string => namespaceOf(id, host)
  const { wide } = labAddresses
  const router = `${home}Router` as const
  yield* wire("outer", name(home), name(router))
  yield* configure(name(home), "outer", [wide[home]])
  yield* configure(name(router), "outer", [wide[router].home])
  yield* plug("wide", name(router), "wide", name("internet"), `to-${home}`)
  yield* configure(name(router), "wide", [wide[router].wide])
  yield* runCommand(["ip", "netns", "exec", name(router), "sysctl", "-qw", ...forwarding])
  yield* routeBy(name(home), wide[router].home)
})

const forwarding = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]

const makeHosts = Effect.fnUntraced(function* (id: string, hosts: ReadonlyArray<LabHost>) {
  yield* removeAbandoned
  for (const host of hosts) {
    const name = namespaceOf(id, host)
    yield* Effect.acquireRelease(runCommand(["ip", "netns", "add", name]), () => removeNamespace(name))
  }
})

/** Both ends are called `device`, unless the right one has a name of its own. */
const wire = (device: string, left: string, right: string, end: string = device) =>
  runCommand(["ip", "link", "add", device, "netns", left, "type", "veth", "peer", "name", end, "netns", right])

const bridge = (namespace: string, device: string, addresses: ReadonlyArray<Dual>) =>
  Effect.andThen(
    runCommand(["ip", "-n", namespace, "link", "add", device, "type", "bridge"]),
    configure(namespace, device, addresses)
  )

/** A wire from the host's `device` to a port of the bridge at the other one. */
const plug = (device: string, host: string, bridge: string, other: string, port: string) =>
  Effect.andThen(
    wire(device, host, other, port),
    runCommand(["ip", "-n", other, "link", "set", port, "up", "master", bridge])
  )

const routeBy = (namespace: string, router: Dual) =>
  runCommand(["ip", "-n", namespace, "-batch", "-"], {
    input: `route add default via ${router.v4}\nroute add default via ${router.v6}\n`
  })

const configure = (namespace: string, device: string, addresses: ReadonlyArray<Dual>) =>
  runCommand(["ip", "-n", namespace, "-batch", "-"], {
    input: [
      "link set lo up",
      `link set ${device} up`,
      ...addresses.flatMap(({ v4, v6 }) => [
        `address add ${v4}/24 dev ${device}`,
        `address add ${v6}/64 dev ${device} nodad`
      ]),
      ""
    ].join("\n")
  })
