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
  yield* runCommand(["ip", "-n", name("internet"), "link", "add", "wide", "type", "bridge"])
  yield* configure(name("internet"), "wide", [wide.portal, wide.relay, wide.otherRelay])
  for (const home of ["client", "gateway"] as const) {
    const router = `${home}Router` as const
    yield* wire("outer", name(home), name(router))
    yield* configure(name(home), "outer", [wide[home]])
    yield* configure(name(router), "outer", [wide[router].home])
    const port = `to-${home}`
    yield* wire("wide", name(router), name("internet"), port)
    yield* runCommand(["ip", "-n", name("internet"), "link", "set", port, "up", "master", "wide"])
    yield* configure(name(router), "wide", [wide[router].wide])
    yield* runCommand(["ip", "netns", "exec", name(router), "sysctl", "-qw", ...forwarding])
    yield* routeBy(name(home), wide[router].home)
  }
  yield* wire("inner", name("lan"), name("gateway"))
  yield* configure(name("gateway"), "inner", [inner.gateway])
  yield* configure(name("lan"), "inner", [inner.dns, inner.origin, inner.otherOrigin])
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
